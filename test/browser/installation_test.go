package browser

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// alice is the user of most tests.
const (
	alice         = "alice@example.com"
	alicePassword = "correct horse battery staple"
)

// installation is a server that runs, with a client's site beside it and a Chromium.
type installation struct {
	*program.Program
	t        *testing.T
	issuer   string
	http     *http.Client // trusts the server's certificate
	site     *site
	client   program.Client
	backTo   string // its redirection URI
	chromium context.Context
}

// install starts a server over TLS, with a client and alice in it. The client's name is
// given; settings are NAME=VALUE pairs.
func install(t *testing.T, clientName string, settings ...string) *installation {
	t.Helper()
	certificate, key, roots := makeCertificate(t)
	i := newInstallation(t, append(settings, "TLS_CERT="+certificate, "TLS_KEY="+key)...)
	i.issuer = "https://" + i.Address
	i.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	public := i.Address
	i.Address = i.Admin // which is asked for readiness, without TLS
	i.Start()
	i.Address = public
	i.populate(clientName)
	return i
}

// installPlain is install without TLS.
func installPlain(t *testing.T, clientName string) *installation {
	t.Helper()
	i := newInstallation(t)
	i.issuer, i.http = "http://"+i.Address, http.DefaultClient
	i.Start()
	i.populate(clientName)
	return i
}

func newInstallation(t *testing.T, settings ...string) *installation {
	t.Helper()
	i := &installation{Program: program.New(t, settings...), t: t, site: newSite(t), chromium: startChromium(t)}
	i.backTo = i.site.server.URL + callbackPath
	return i
}

func (i *installation) populate(clientName string) {
	i.t.Helper()
	i.client = i.createClient(clientName)
	i.CreateUser(alice, alicePassword)
}

// createClient makes a client of the site, which is public unless a flag says otherwise.
func (i *installation) createClient(name string, flags ...string) program.Client {
	i.t.Helper()
	return i.CreateClient(append([]string{
		"--name", name, "--grant-type", "authorization_code", "--public", "--redirect-uri", i.backTo, "--scope", "orders:read",
	}, flags...)...)
}

// makeCertificate makes a certificate for 127.0.0.1 and localhost, in files.
func makeCertificate(t *testing.T) (certificate, key string, roots *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	check(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	check(t, err)
	parsed, err := x509.ParseCertificate(der)
	check(t, err)
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return writePEM(t, "CERTIFICATE", der), writePEM(t, "PRIVATE KEY", encoded), roots
}

func writePEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	return writeFile(t, "tls.pem", string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	check(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// token asks the standard token endpoint for the client.
func (i *installation) token(parameters url.Values) program.Tokens {
	i.t.Helper()
	parameters.Set("client_id", i.client.ID)
	response, err := i.http.PostForm(i.issuer+"/oauth2/token", parameters)
	check(i.t, err)
	defer func() { _ = response.Body.Close() }()
	tokens := program.Tokens{Status: response.StatusCode}
	check(i.t, json.NewDecoder(response.Body).Decode(&tokens))
	return tokens
}

// redeem redeems the code that came back to the site.
func (i *installation) redeem(a arrival) program.Tokens {
	i.t.Helper()
	return i.token(url.Values{
		"grant_type": {"authorization_code"}, "code": {a.Get("code")}, "redirect_uri": {i.backTo}, "code_verifier": {verifier},
	})
}

func (i *installation) refresh(token string) program.Tokens {
	i.t.Helper()
	return i.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
