package endpoint

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// metadata holds the two documents about the authorization server, which say the
// same to different readers, and the one about the resource that it protects itself.
type metadata struct{ standardJSON, oroCommerceJSON, resourceJSON []byte }

// standardDocument is RFC 8414 section 2. It lists only what exists.
type standardDocument struct {
	Issuer                                    string   `json:"issuer"`
	AuthorizationEndpoint                     string   `json:"authorization_endpoint"`
	TokenEndpoint                             string   `json:"token_endpoint"`
	JWKSURI                                   string   `json:"jwks_uri"`
	UserinfoEndpoint                          string   `json:"userinfo_endpoint"`
	IntrospectionEndpoint                     string   `json:"introspection_endpoint"`
	RevocationEndpoint                        string   `json:"revocation_endpoint"`
	ResponseTypesSupported                    []string `json:"response_types_supported"`
	ResponseModesSupported                    []string `json:"response_modes_supported"`
	GrantTypesSupported                       []string `json:"grant_types_supported"`
	TokenEndpointAuthMethodsSupported         []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthMethodsSupported []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionSigningAlgValuesSupported    []string `json:"introspection_signing_alg_values_supported"` // RFC 9701 section 7
	RevocationEndpointAuthMethodsSupported    []string `json:"revocation_endpoint_auth_methods_supported"`
	CodeChallengeMethodsSupported             []string `json:"code_challenge_methods_supported"`
	IssParameterSupported                     bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
}

// resourceDocument is RFC 9728 section 2, for userinfo.
type resourceDocument struct {
	Resource               string   `json:"resource"`
	AuthorizationServers   []string `json:"authorization_servers"`
	BearerMethodsSupported []string `json:"bearer_methods_supported"`
}

// oroCommerceDocument is OroCommerce's, in its order. Its issuer is not an address
// that answers, there as here.
type oroCommerceDocument struct {
	Issuer                        string   `json:"issuer"`
	AuthorizationEndpoint         string   `json:"authorization_endpoint"`
	TokenEndpoint                 string   `json:"token_endpoint"`
	ResponseTypesSupported        []string `json:"response_types_supported"`
	GrantTypesSupported           []string `json:"grant_types_supported"`
	CodeChallengeMethodsSupported []string `json:"code_challenge_methods_supported"`
}

// How clients authenticate, confidential ones and all (RFC 7591 section 2).
var (
	withSecret = []string{"client_secret_basic", "client_secret_post"}
	anyClient  = []string{"client_secret_basic", "client_secret_post", "none"}
)

// oroServer is the path below the well-known one, and below the issuer.
const oroServer = "oauth2-server"

func newMetadata(issuer string) (*metadata, error) {
	base := strings.TrimSuffix(issuer, "/")
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(standardDocument{
		Issuer:                            issuer,
		AuthorizationEndpoint:             base + authorizePath,
		TokenEndpoint:                     base + "/oauth2/token",
		JWKSURI:                           base + "/oauth2/jwks",
		UserinfoEndpoint:                  base + "/oauth2/userinfo",
		IntrospectionEndpoint:             base + "/oauth2/introspect",
		RevocationEndpoint:                base + "/oauth2/revoke",
		ResponseTypesSupported:            []string{"code"},
		ResponseModesSupported:            []string{"query"},
		GrantTypesSupported:               oauth.GrantTypes(),
		TokenEndpointAuthMethodsSupported: anyClient,
		IntrospectionEndpointAuthMethodsSupported: withSecret,
		IntrospectionSigningAlgValuesSupported:    []string{"RS256", "ES256", "EdDSA", "PS256"},
		RevocationEndpointAuthMethodsSupported:    anyClient,
		CodeChallengeMethodsSupported:             []string{"S256"},
		IssParameterSupported:                     true,
	})
	if err != nil {
		return nil, err
	}
	oro, err := json.Marshal(oroCommerceDocument{
		Issuer:                        base + "/" + oroServer,
		AuthorizationEndpoint:         base + oroAuthorizePath,
		TokenEndpoint:                 base + "/oauth2-token",
		ResponseTypesSupported:        []string{"code"},
		GrantTypesSupported:           slices.Sorted(slices.Values(oauth.GrantTypes())), // OroCommerce's order, as it happens
		CodeChallengeMethodsSupported: []string{"S256"},
	})
	if err != nil {
		return nil, err
	}
	resource, err := json.Marshal(resourceDocument{
		Resource: issuer, AuthorizationServers: []string{issuer}, BearerMethodsSupported: []string{"header"},
	})
	if err != nil {
		return nil, err
	}
	return &metadata{b.Bytes(), bytes.ReplaceAll(oro, []byte("/"), []byte(`\/`)), resource}, nil
}

func (m *metadata) standard(w *response, _ *http.Request) error {
	publish(w, m.standardJSON)
	return nil
}

func (m *metadata) oroCommerce(w *response, r *http.Request) error {
	if r.PathValue("path") != oroServer {
		return oauth.ErrPathUnknown
	}
	publish(w, m.oroCommerceJSON)
	return nil
}

func (m *metadata) resource(w *response, _ *http.Request) error {
	publish(w, m.resourceJSON)
	return nil
}

// jwks is the JWK set (RFC 7517 section 5) to check access tokens with.
func (e *endpoint) jwks(w *response, _ *http.Request) error {
	publish(w, e.JWKS())
	return nil
}

// publish writes public data. A key is published for longer than the five minutes
// before it signs.
func publish(w *response, document []byte) {
	h := w.Header()
	h["Access-Control-Allow-Origin"] = anyOrigin
	h["Cache-Control"] = publicFor300
	w.send(http.StatusOK, jsonType, document)
}

// refuseInPlainText is how OroCommerce tells that there is no such server or resource.
func refuseInPlainText(text string) refuser {
	return func(w *response, _ *http.Request, refusal *oauth.Refusal) {
		w.Header()["Cache-Control"] = noCachePrivate
		w.send(status(refusal), plainText, []byte(text))
	}
}
