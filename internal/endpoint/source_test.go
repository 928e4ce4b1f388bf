package endpoint

import (
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestSource(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"IPv4", "192.0.2.77:1234", nil, "192.0.2.0/24"},
		{"IPv6", "[2001:db8:1:2ff:3::4]:1", nil, "2001:db8:1:200::/56"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.77]:1", nil, "192.0.2.0/24"},
		{"zone", "[fe80::1%eth0]:1", nil, "fe80::/56"},
		{"Unix socket", "@", nil, "unknown"},
		{"a stranger's claim", "192.0.2.77:1", []string{"198.51.100.1"}, "192.0.2.0/24"},
		{"proxy", "10.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.0/24"},
		{"proxy without the header", "10.0.0.1:1", nil, "10.0.0.0/24"},
		{"proxy that is IPv4 in IPv6", "[::ffff:10.0.0.1]:1", []string{"198.51.100.1"}, "198.51.100.0/24"},
		{"claim passed on by a proxy", "10.0.0.1:1", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.0/24"},
		{"two proxies", "10.0.0.1:1", []string{"203.0.113.9,198.51.100.1 , 10.9.9.9"}, "198.51.100.0/24"},
		{"two headers", "10.0.0.1:1", []string{"203.0.113.9", "198.51.100.1", "10.9.9.9"}, "198.51.100.0/24"},
		{"proxies only", "10.0.0.1:1", []string{"10.3.3.3, 10.2.2.2"}, "10.3.3.0/24"},
		{"with port", "10.0.0.1:1", []string{"198.51.100.1:99"}, "198.51.100.0/24"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::1]"}, "2001:db8::/56"},
		{"IPv6 with port", "[2001:db8:ffff::1]:1", []string{"[2001:db8::1]:99"}, "2001:db8::/56"},
		{"garbage", "10.0.0.1:1", []string{"198.51.100.1, unknown"}, "10.0.0.0/24"},
		{"garbage further left", "10.0.0.1:1", []string{"garbage, 198.51.100.1"}, "198.51.100.0/24"},
		{"empty", "10.0.0.1:1", []string{""}, "10.0.0.0/24"},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != nil {
			r.Header["X-Forwarded-For"] = c.forwarded
		}
		if got := source(r, trusted); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
