package bench

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
)

// Secret is text that must never be printed: a password or a client secret.
type Secret string

// Format implements fmt.Formatter for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// MarshalText implements encoding.TextMarshaler, so that JSON shows nothing either.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// requests makes requests to the token endpoint, byte by byte: what the load generator
// does not spend, the server on the same machine has.
type requests struct {
	login         []byte
	head          string // until the value of Content-Length
	before, after string // of a refresh token in the body of a refresh
	form          bool
}

// newRequests writes what all requests have in common.
func newRequests(o *Options) *requests {
	r := &requests{form: !o.JSON}
	mediaType := "application/x-www-form-urlencoded"
	if o.JSON {
		mediaType = "application/json"
	}
	r.head = fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: counterfoil-bench\r\nAccept: application/json\r\nContent-Type: %s\r\nContent-Length: ",
		o.URL.RequestURI(), o.URL.Host, mediaType)
	client := [][2]string{{"client_id", o.ClientID}, {"client_secret", string(o.ClientSecret)}}
	login := append([][2]string{{"grant_type", GrantTypePassword}}, client...)
	login = append(login, [2]string{"username", o.Username}, [2]string{"password", string(o.Password)}, [2]string{"scope", o.Scope})
	body := encode(o.JSON, login)
	r.login = fmt.Appendf(nil, "%s%d\r\n\r\n%s", r.head, len(body), body)
	refresh := encode(o.JSON, append([][2]string{{"grant_type", GrantTypeRefreshToken}}, client...))
	if o.JSON {
		r.before, r.after = refresh[:len(refresh)-1]+`,"refresh_token":`, "}"
	} else {
		r.before = refresh + "&refresh_token="
	}
	return r
}

// encode writes parameters as JSON or as a form. An empty one is left out.
func encode(asJSON bool, parameters [][2]string) string {
	object, form := map[string]string{}, url.Values{}
	for _, p := range parameters {
		if p[1] != "" {
			object[p[0]] = p[1]
			form.Set(p[0], p[1])
		}
	}
	if !asJSON {
		return form.Encode()
	}
	return quote(object)
}

func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always have a JSON
	}
	return string(text)
}

// refresh is the request that uses a refresh token.
func (r *requests) refresh(token string) []byte {
	if r.form {
		token = url.QueryEscape(token)
	} else {
		token = quote(token)
	}
	b := make([]byte, 0, len(r.head)+len(r.before)+len(token)+len(r.after)+16)
	b = append(b, r.head...)
	b = strconv.AppendInt(b, int64(len(r.before)+len(token)+len(r.after)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.before...)
	b = append(b, token...)
	return append(b, r.after...)
}
