package oauth

import "testing"

// TestHasRedirectURI: equal as text, but for the port of a loopback address
// (RFC 8252 section 7.3), and `localhost` is none.
func TestHasRedirectURI(t *testing.T) {
	t.Parallel()
	c := Client{RedirectURIs: []string{"https://app.example.com/cb", "http://127.0.0.1/cb", "http://[::1]:8080/cb", "http://localhost/cb"}}
	for uri, want := range map[string]bool{
		"https://app.example.com/cb":      true,
		"https://app.example.com/cb/":     false,
		"https://APP.example.com/cb":      false,
		"https://app.example.com:443/cb":  false,
		"http://127.0.0.1/cb":             true,
		"http://127.0.0.1:54321/cb":       true,
		"http://127.0.0.1:54321/other":    false,
		"http://127.0.0.1:54321@evil/cb":  false,
		"http://127.0.0.1.evil/cb":        false,
		"https://127.0.0.1/cb":            false,
		"http://[::1]/cb":                 true,
		"http://[::1]:1/cb":               true,
		"http://localhost/cb":             true,
		"http://localhost:8080/cb":        false,
		"":                                false,
		"http://user@127.0.0.1:54321/cb":  false,
		"http://127.0.0.1:54321/cb?x=1":   false,
		"http://127.0.0.1:54321/cb#x":     false,
		"http://127.0.0.1:http://evil/cb": false,
	} {
		if got := c.HasRedirectURI(uri); got != want {
			t.Errorf("%s: got %v, want %v", uri, got, want)
		}
	}
}
