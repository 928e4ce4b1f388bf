package endpoint

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// standardBasic reads the Authorization header of a request to the standard
// endpoint (RFC 7617, RFC 6749 section 2.3.1). A header that is there must be
// readable.
func standardBasic(authorization string) ([]oauth.BasicCredentials, error) {
	if authorization == "" {
		return nil, nil
	}
	if encoded, ok := basicScheme(authorization); ok {
		decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
		if credentials := readings(string(decoded)); err == nil && credentials != nil {
			return credentials, nil
		}
	}
	return nil, oauth.ErrClientUnauthenticated.Because(errors.New("the Authorization header is not Basic credentials"))
}

// oroBasic reads the Authorization header as OroCommerce does: what is unreadable
// is not there. The scheme's case does not matter to us.
func oroBasic(authorization string) ([]oauth.BasicCredentials, error) {
	encoded, ok := basicScheme(authorization)
	if !ok {
		return nil, nil
	}
	return readings(decodeBase64LikePHP(encoded)), nil
}

func basicScheme(authorization string) (encoded string, ok bool) {
	scheme, encoded, ok := strings.Cut(authorization, " ")
	return strings.TrimLeft(encoded, " "), ok && strings.EqualFold(scheme, "Basic")
}

// decodeBase64LikePHP skips whatever is not in the alphabet, and a remainder.
func decodeBase64LikePHP(encoded string) string {
	b := make([]byte, 0, len(encoded))
	for i := range len(encoded) {
		c := encoded[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' {
			b = append(b, c)
		}
	}
	if len(b)%4 == 1 {
		b = b[:len(b)-1]
	}
	decoded, _ := base64.RawStdEncoding.DecodeString(string(b)) // cannot fail any more
	return string(decoded)
}

// readings returns how `id:secret` may be meant: as it stands, and percent-decoded
// where that differs, because clients differ. nil: there is no colon.
func readings(pair string) []oauth.BasicCredentials {
	id, secret, ok := strings.Cut(pair, ":")
	if !ok {
		return nil
	}
	credentials := []oauth.BasicCredentials{{ID: id, Secret: oauth.Secret(secret)}}
	decodedID, errID := url.QueryUnescape(id)
	decodedSecret, errSecret := url.QueryUnescape(secret)
	if errID != nil || errSecret != nil || decodedID == id && decodedSecret == secret {
		return credentials
	}
	return append(credentials, oauth.BasicCredentials{ID: decodedID, Secret: oauth.Secret(decodedSecret)})
}
