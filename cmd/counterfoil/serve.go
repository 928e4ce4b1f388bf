package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/config"
	"github.com/counterfoil/counterfoil/internal/console"
	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
	"github.com/counterfoil/counterfoil/internal/signing"
)

func newServeCommand() *cobra.Command {
	var migrate bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the authorization server",
		Long: `Run the authorization server. The first start makes the data directory, the database,
the master key and a signing key; every start migrates the embedded database. PostgreSQL
is migrated by 'counterfoil migrate up', or by --migrate.

SIGTERM or SIGINT stops it when the requests in flight are answered, a second one at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			log := newLogger(cmd.ErrOrStderr(), c)
			forbidCoreDumps(log)
			collectSeldom()
			i, err := openStore(cmd.Context(), c, log, 0)
			if err != nil {
				return err
			}
			return errors.Join(serve(cmd.Context(), i, migrate || i.embedded, occasion{}), i.Close())
		},
	}
	cmd.Flags().BoolVar(&migrate, "migrate", false, "migrate PostgreSQL at start")
	addSettings(cmd)
	return cmd
}

// server is an installation at work.
type server struct {
	*installation
	ring        *signing.Ring
	oauth       *oauth.Server
	feed        *feed.Feed
	metrics     *metrics
	certificate *certificate // nil: no TLS
	reading     sync.Mutex   // of the master keys
	keyFile     watchedFile
}

// occasion is what a command wants of the server that it runs; zero: nothing special.
type occasion struct {
	started func(*config.Config)            // called when the server answers requests
	wrap    func(http.Handler) http.Handler // stands before the public endpoints
}

// serve runs the server until the context ends, after migrating the database if it
// may.
func serve(ctx context.Context, i *installation, migrate bool, o occasion) error {
	step := i.checkSchema
	if migrate {
		step = i.Store.Migrate
	}
	if err := step(ctx); err != nil {
		return err
	}
	if err := i.open(ctx); err != nil {
		return err
	}
	i.Operator.Actor = "server"
	l, err := listen(ctx, i.Config)
	if err != nil {
		return err
	}
	s, public, err := newServer(ctx, i)
	if err != nil {
		return errors.Join(err, l.close())
	}
	if o.wrap != nil {
		public = o.wrap(public)
	}
	if err := s.run(ctx, l, public, o.started); err != nil {
		return err
	}
	i.Log.Info("stopped")
	return nil
}

// newServer wires everything together, once the addresses are known.
func newServer(ctx context.Context, i *installation) (*server, http.Handler, error) {
	ring, err := openRing(ctx, i)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := password.NewClientSecrets(i.Hasher, time.Now)
	if err != nil {
		return nil, nil, err
	}
	directory, err := password.NewDirectory(i.Store, i.Hasher)
	if err != nil {
		return nil, nil, err
	}
	directory.FoldEmail = i.Config.CaseInsensitiveEmail
	pages, err := openPages(i.Config)
	if err != nil {
		return nil, nil, err
	}
	s := &server{installation: i, ring: ring, metrics: newMetrics(i, secrets), keyFile: watchedFile{path: i.Config.MasterKeyPath()}}
	if s.certificate, err = openCertificate(i.Config.TLSCert, i.Config.TLSKey); err != nil {
		return nil, nil, configurationError{err}
	}
	s.oauth = &oauth.Server{
		Store: i.Store, Directory: directory, Passwords: directory, Signer: ring, Secrets: secrets,
		Keys: i.Keys, Now: utcNow, Rand: rand.Reader, Settings: serverSettings(i.Config), ReloadKeys: s.refreshMasterKeys,
	}
	if s.feed, err = feed.New(feed.Options{Store: i.Store, Policy: s.oauth.AccessTokenPolicy, Now: utcNow, Rand: rand.Reader}); err != nil {
		return nil, nil, err
	}
	s.oauth.Rotated = s.feed.Rotated
	if err := s.oauth.LoadSecretFailures(ctx); err != nil {
		return nil, nil, err
	}
	public, err := endpoint.New(endpoint.Options{
		Server: s.oauth, Pages: pages, Feed: s.feed, JWKS: ring.JWKS, Ready: i.Store.Ready, Logger: i.Log, Rand: rand.Reader,
		CORS: endpoint.CORS{
			AllowOrigins: i.Config.CORSAllowOrigins, AllowHeaders: i.Config.CORSAllowHeaders, PreflightMaxAge: i.Config.CORSPreflightMaxAge,
		},
		TrustedProxies: i.Config.TrustedProxies,
		Observe:        s.metrics.observe,
	})
	return s, public, err
}

// openPages makes the pages that users see.
func openPages(c *config.Config) (*console.Pages, error) {
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, configurationError{fmt.Errorf("issuer: %w", err)}
	}
	brand := console.Brand{Name: c.BrandName, Color: c.BrandColor}
	if c.BrandLogo != "" {
		if brand.Logo, err = os.ReadFile(c.BrandLogo); err != nil {
			return nil, configurationError{fmt.Errorf("brand_logo: %w", err)}
		}
	}
	pages, err := console.New(brand, strings.TrimSuffix(issuer.Path, "/")+endpoint.AssetsPath)
	if err != nil {
		return nil, configurationError{fmt.Errorf("brand: %w", err)}
	}
	return pages, nil
}

func utcNow() time.Time { return time.Now().UTC() }

// serverSettings is what package oauth wants to know of the settings.
func serverSettings(c *config.Config) oauth.Settings {
	return oauth.Settings{
		Issuer:               c.Issuer,
		AccessTokenLifetime:  c.AccessTokenLifetime,
		RefreshTokenLifetime: c.RefreshTokenLifetime,
		AbsoluteLifetime:     c.RefreshTokenAbsoluteLifetime,
		RetryWindow:          c.RetryWindow,
		LateWindow:           c.LateWindow,
		RetryBudget:          c.RetryBudget,
		PreviousAccessToken:  c.PreviousAccessToken,
		SigningAlg:           c.SigningAlg,
		MaxGrants:            c.MaxGrants,
		Lockout:              c.Lockout,
		CodeLifetime:         c.AuthorizationCodeLifetime,
		SessionLifetime:      c.SessionLifetime,
		KeepGrants:           c.PasswordChange == config.Keep,
		Visitors:             c.Visitors,
	}
}

// run answers requests and works in the background, until the context ends or a
// listener fails. Requests in flight are answered before it returns.
func (s *server) run(ctx context.Context, l *listeners, public http.Handler, started func(*config.Config)) error {
	serving, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	var background, listening sync.WaitGroup
	if err := s.feed.Step(serving); err != nil { // before the first rotation the others must know of this node
		s.Log.Error("revocation feed", "error", err)
	}
	s.work(serving, &background)
	servers := s.httpServers(public)
	for i, on := range []net.Listener{l.public, l.admin} {
		if on != nil {
			listening.Go(func() { failed(serveOn(servers[i], on)) })
		}
	}
	s.Log.Info("listening", "listen", s.Config.Listen, "admin_listen", s.Config.AdminListen, "issuer", s.Config.Issuer)
	if started != nil {
		started(s.Config)
	}
	notify("READY=1")

	<-serving.Done()
	cause := context.Cause(serving)
	if ctx.Err() != nil {
		cause = nil // we were told to stop
	}
	notify("STOPPING=1")
	s.feed.Close()
	s.Log.Info("stopping: requests in flight are answered first")
	err := stopServers(ctx, servers)
	listening.Wait()
	background.Wait()
	ctx = context.WithoutCancel(ctx)
	return errors.Join(cause, err, s.feed.Stop(ctx), s.oauth.SaveSecretFailures(ctx), s.oauth.SaveClientUse(ctx))
}

// httpServers are the servers of the public and of the admin listener.
func (s *server) httpServers(public http.Handler) []*http.Server {
	var certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	if s.certificate != nil {
		certificate = s.certificate.get
	}
	admin := adminHandler(s.Config.AdminListen, s.metrics.handler(s.Log), s.Store.Ready)
	return []*http.Server{newHTTPServer(public, certificate, s.Log), newHTTPServer(admin, nil, s.Log)}
}
