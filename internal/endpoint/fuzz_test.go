package endpoint

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// FuzzSource: the source of a request is a network of the right size; what a stranger
// claims in X-Forwarded-For counts for nothing, whether he reached us by a trusted
// proxy or by himself.
func FuzzSource(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.9", "unknown, 203.0.113.9", "[2001:db8::1]:443, 10.0.0.2", "::ffff:10.0.0.1", "fe80::1%eth0", ",,", "10.0.0.2,10.0.0.3"} {
		f.Add("10.0.0.1:1234", seed)
	}
	f.Add("[2001:db8::1%eth0]:1", "x")
	f.Add("@", "10.0.0.1")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, claimed string) {
		ask := func(peer string, forwarded ...string) string {
			return source(&http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": forwarded}}, trusted)
		}
		got := ask(peer, claimed)
		p, err := netip.ParsePrefix(got)
		if got != "unknown" && (err != nil || p.Bits() != map[bool]int{true: 24, false: 56}[p.Addr().Is4()] || p.Masked().String() != got) {
			t.Errorf("%q by %q is of %q", claimed, peer, got)
		}
		if behind := ask("10.0.0.1:1", claimed, "192.0.2.7"); behind != "192.0.2.0/24" {
			t.Errorf("what a stranger claimed, %q, made him one of %s", claimed, behind)
		}
		if alone := ask("192.0.2.7:1", claimed); alone != "192.0.2.0/24" {
			t.Errorf("what a stranger claimed himself, %q, made him one of %s", claimed, alone)
		}
	})
}

// FuzzMultipart: a multipart body yields parameters as clean as those of a form.
func FuzzMultipart(f *testing.F) {
	part := func(name, value string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for _, seed := range []string{"", "--b--", part("a", "1") + "--b--", part("a", "1") + part("a", "2") + "--b--", part("scope[]", "x") + part("scope[]", "y") + "--b--", part("[a]", "1") + "--b--", part("a.b c[", "1") + "--b", part("a", "1")} {
		f.Add("multipart/form-data; boundary=b", seed)
	}
	f.Add("multipart/form-data", "--b--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		got, err := oroMultipart(contentType, body)
		if err != nil && !errors.Is(err, oauth.ErrParameterRepeated) {
			t.Errorf("%q: %v", body, err)
		}
		if err == nil && got == nil {
			t.Errorf("%q: neither parameters nor an error", body)
		}
		for name, p := range got {
			if name == "" || strings.ContainsAny(name, " .[\x00") || p.List != nil && name != "scope" {
				t.Errorf("%q: %q is %+v", body, name, p)
			}
			if name != "scope" && !p.Invalid && !strings.Contains(body, p.Value) {
				t.Errorf("%q: %q is %q", body, name, p.Value)
			}
		}
	})
}

// FuzzJSONParameters: what the standard endpoint takes has texts for all parameters,
// those that encoding/json finds; OroCommerce's endpoint takes a scope of texts or
// numbers, and of numbers only such as can stand in the claims.
func FuzzJSONParameters(f *testing.F) {
	for _, seed := range []string{"", "{}", "[]", `{"scope":["a",1]}`, `{"scope":[1,-0.5e3]}`, `{"client_id":1e3}`, `{"client_id":true,"x":null}`, `{"scope":{"a":"b"}}`, `{"grant_type":"x","other":[1]}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		standard, err := standardJSON(body)
		var want map[string]any
		if err == nil && json.Unmarshal([]byte(body), &want) != nil || len(want) != len(standard) {
			t.Fatalf("%q: taken as %+v", body, standard)
		}
		for name, p := range standard {
			text, isText := want[name].(string)
			if isText && p.Value != text || !isText && slices.Contains(parameterNames, name) || p.List != nil || p.Invalid {
				t.Errorf("%q: %s is %+v", body, name, p)
			}
		}
		oro, err := oroJSON(body)
		if err != nil && oro != nil {
			t.Errorf("%q: parameters and an error", body)
		}
		for name, p := range oro {
			if p.List != nil && name != "scope" || p.Invalid && (p.Value != "" || p.List != nil) {
				t.Errorf("%q: %s is %+v", body, name, p)
			}
			if p.Numbers && !json.Valid([]byte("["+strings.Join(p.List, ",")+"]")) {
				t.Errorf("%q: the numbers %q", body, p.List)
			}
		}
	})
}

// FuzzMedia: the standard endpoint takes no media type but its two, in UTF-8.
func FuzzMedia(f *testing.F) {
	for _, seed := range []string{"", formMedia, jsonMedia, "application/json; charset=utf-8", "application/json;charset=latin1", "Application/JSON", "application/json; x=y", "application/json; charset=utf-8; charset=utf-16", "text/plain"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, contentType string) {
		media, ok := strictMedia(contentType)
		if !ok {
			return
		}
		want, attributes, err := mime.ParseMediaType(contentType)
		charset, given := attributes["charset"]
		if err != nil || want != media || media != formMedia && media != jsonMedia || len(attributes) > 1 || len(attributes) == 1 && !given || given && !strings.EqualFold(charset, "utf-8") {
			t.Errorf("took %q as %q", contentType, media)
		}
	})
}

// FuzzInQuery: no OAuth parameter passes in the address, however it is spelled.
func FuzzInQuery(f *testing.F) {
	for _, seed := range []string{"", "a=b", "code=1", "a&%63ode", "x=1&password", "+code=1", "code%3D=1", "%=1&scope="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, _ := url.ParseQuery(query) // keeps what it can read
		for name := range values {
			if slices.Contains(parameterNames, name) && !inQuery(query) {
				t.Errorf("%q: %s is not seen", query, name)
			}
		}
	})
}

// FuzzOnward: signing in leads to a page of ours, however the address is spelled.
func FuzzOnward(f *testing.F) {
	for _, seed := range []string{"", "/oauth2/devices", "/oauth2/authorize?a=b#c", "//evil.example/oauth2/devices", "/\\evil.example", "https://evil.example/oauth2/devices", "/oauth2/devices/..", "/oauth2%2fdevices"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, asked string) {
		to := onward(asked)
		path, _, _ := strings.Cut(to, "?")
		if !slices.Contains(continues, path) || strings.ContainsAny(to, "\r\n\\ ") {
			t.Errorf("%q leads to %q", asked, to)
		}
	})
}
