package endpoint

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxBody is the largest request body in bytes.
const maxBody = 16 << 10

// The media types of request bodies.
const (
	formMedia      = "application/x-www-form-urlencoded"
	multipartMedia = "multipart/form-data"
	jsonMedia      = "application/json"
)

// oroJSONMedia are the media types that OroCommerce knows as JSON, compared byte
// for byte as there.
var oroJSONMedia = []string{jsonMedia, "application/x-json", "application/vnd.api+json"}

// parameterNames are the parameters of token requests that any standard defines
// (the IANA registry "OAuth Parameters"). None of them belongs into an address.
var parameterNames = []string{
	"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type",
	"username", "password", "refresh_token", "scope", "redirect_uri", "code", "code_verifier",
	"assertion", "device_code", "resource", "audience", "requested_token_type",
	"subject_token", "subject_token_type", "actor_token", "actor_token_type", "access_token",
	"token", "token_type_hint",
}

// repeated is the refusal of a parameter given twice (RFC 6749 section 3.2). It
// repeats only names that we know.
func repeated(name string) error {
	if slices.Contains(parameterNames, name) {
		return oauth.ErrParameterRepeated.About(name)
	}
	return oauth.ErrParameterRepeated
}

// single returns the value of a header that may occur once; empty: there is none.
func single(h http.Header, name string) (string, error) {
	switch values := h[name]; len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", oauth.ErrHeaderRepeated
}

// readBody reads the whole body, if it is not too large.
func readBody(w *response, r *http.Request) (string, error) {
	if r.ContentLength > maxBody {
		return "", oauth.ErrBodyTooLarge
	}
	body := http.MaxBytesReader(w.ResponseWriter, r.Body, maxBody) // our own wrapper could not close the connection
	if r.ContentLength >= 0 {
		b := make([]byte, r.ContentLength)
		_, err := io.ReadFull(body, b)
		return string(b), unread(err)
	}
	b, err := io.ReadAll(body)
	return string(b), unread(err)
}

// unread says why a body could not be read: it is too large, or it broke off.
func unread(err error) error {
	if err == nil {
		return nil
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return oauth.ErrBodyTooLarge
	}
	return oauth.ErrBodyMalformed.Because(err)
}

// standardParameters reads a form (RFC 6749 appendix B) or a JSON object, and
// nothing that could be read in two ways.
func standardParameters(w *response, r *http.Request) (oauth.Parameters, error) {
	if inQuery(r.URL.RawQuery) {
		return nil, oauth.ErrParameterInQuery
	}
	contentType, err := single(r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	media, ok := strictMedia(contentType)
	if !ok {
		return nil, oauth.ErrMediaType
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	if media == jsonMedia {
		return standardJSON(body)
	}
	return standardForm(body)
}

// strictMedia returns which of the two media types it is, in UTF-8.
func strictMedia(contentType string) (media string, ok bool) {
	if contentType == formMedia || contentType == jsonMedia {
		return contentType, true
	}
	media, attributes, err := mime.ParseMediaType(contentType)
	if charset, given := attributes["charset"]; given && strings.EqualFold(charset, "utf-8") {
		delete(attributes, "charset")
	}
	return media, err == nil && len(attributes) == 0 && (media == formMedia || media == jsonMedia)
}

// inQuery reports whether the query string has an OAuth parameter.
func inQuery(query string) bool {
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		if slices.Contains(parameterNames, name) {
			return true
		}
	}
	return false
}

// oroParameters reads what PHP, Symfony and OroCommerce make of a body: JSON, a
// form, the text fields of a multipart body, and nothing of any other. The query
// string is ignored.
func oroParameters(w *response, r *http.Request) (oauth.Parameters, error) {
	contentType, err := single(r.Header, "Content-Type")
	if err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	media, _, _ := strings.Cut(contentType, ";")
	if slices.Contains(oroJSONMedia, strings.TrimSpace(media)) {
		return oroJSON(body)
	}
	if end := strings.IndexAny(contentType, " ,;"); end >= 0 {
		media = contentType[:end]
	}
	switch {
	case strings.EqualFold(media, formMedia):
		return oroForm(body)
	case strings.EqualFold(media, multipartMedia):
		return oroMultipart(contentType, body)
	}
	return oauth.Parameters{}, nil
}
