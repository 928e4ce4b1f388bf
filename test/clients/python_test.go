package clients_test

import "testing"

// TestPython: the password flow of requests-oauthlib and Authlib, as Debian has them,
// with a session that refreshes by itself when its access token has expired.
func TestPython(t *testing.T) {
	t.Parallel()
	p := newServer(t)
	for library, paths := range map[string][]string{
		"requests_oauthlib": {"/oauth2-token"},
		"authlib":           {"/oauth2-token", "/oauth2/token"},
	} {
		for _, path := range paths {
			for _, authMethod := range []string{clientSecretBasic, clientSecretPost} {
				t.Run(library+path+"/"+authMethod, func(t *testing.T) {
					t.Parallel()
					c := newClient(t, p, authMethod)
					var got struct {
						Session []tokens
						User    claims
					}
					run(t, []string{"/usr/bin/python3", library + "_script.py"}, ".", newSettings(p, c, authMethod, path), &got)
					checkSession(t, p, 2, got.Session)
					if got.User.ClientID != c.ID || got.User.GrantID == "" {
						t.Errorf("userinfo is %+v", got.User)
					}
				})
			}
		}
	}
}
