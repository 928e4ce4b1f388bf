package endpoint

import "net/http"

// revoke is the revocation endpoint (RFC 7009 section 2). Whatever was revoked, the
// answer is the same.
func (e *endpoint) revoke(w *response, r *http.Request) error {
	shareWithAllowed(e.origins, w, r)
	request, err := tokenRequest(&standard, w, r)
	if err != nil {
		return err
	}
	revocation, err := e.Server.Revoke(r.Context(), request)
	w.clientID, w.grantID = revocation.ClientID, revocation.GrantID
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.send(http.StatusOK, jsonType, []byte("{}"))
	return nil
}
