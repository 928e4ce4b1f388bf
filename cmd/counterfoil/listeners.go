package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/counterfoil/counterfoil/internal/config"
)

// The limits of a listener: slow and greedy peers must not starve the others.
const (
	readHeaderTimeout    = 5 * time.Second
	readTimeout          = 10 * time.Second
	writeTimeout         = 20 * time.Second
	idleTimeout          = 60 * time.Second
	maxHeaderBytes       = 16 << 10
	maxConnections       = 10_000
	maxConnectionsOfPeer = 512
	maxStreams           = 100              // HTTP/2, of one connection
	stopTimeout          = 15 * time.Second // for requests that are being answered
)

// newHTTPServer returns a server with the limits, for either listener.
func newHTTPServer(h http.Handler, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		DisableGeneralOptionsHandler: true, // the handler answers everything
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' broken connections
	}
	if certificate != nil {
		s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate}
	}
	return s
}

// serveOn answers requests until the server is stopped.
func serveOn(s *http.Server, l net.Listener) error {
	var err error
	if s.TLSConfig != nil {
		err = s.ServeTLS(l, "", "")
	} else {
		err = s.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// stopServers lets requests finish, for a while.
func stopServers(ctx context.Context, servers []*http.Server) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	var stopping sync.WaitGroup
	failed := make([]error, len(servers))
	for i, s := range servers {
		stopping.Go(func() {
			if err := s.Shutdown(ctx); err != nil {
				failed[i] = errors.Join(fmt.Errorf("stop: some requests did not finish: %w", err), s.Close())
			}
		})
	}
	stopping.Wait()
	return errors.Join(failed...)
}

// listeners are the addresses that the server listens on.
type listeners struct{ public, admin net.Listener } // admin is nil where it is off

// listen binds the addresses, and tells the settings which ones were bound.
func listen(ctx context.Context, c *config.Config) (*listeners, error) {
	var l listeners
	var lc net.ListenConfig
	var err error
	if l.public, err = lc.Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if c.AdminListen != "" {
		if l.admin, err = lc.Listen(ctx, "tcp", c.AdminListen); err != nil {
			return nil, errors.Join(fmt.Errorf("admin_listen: %w", err), l.public.Close())
		}
	}
	c.Bound(bound(c.Listen, l.public), bound(c.AdminListen, l.admin))
	exempt := func(a netip.Addr) bool {
		return a.IsLoopback() || slices.ContainsFunc(c.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	l.public = &peerLimit{Listener: netutil.LimitListener(l.public, maxConnections), exempt: exempt, open: map[netip.Addr]int{}}
	return &l, nil
}

// bound is an address as it was set, with the port that was in fact bound.
func bound(address string, l net.Listener) string {
	host, port, err := net.SplitHostPort(address)
	if l == nil || err != nil {
		return address
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); ok {
		port = fmt.Sprint(tcp.Port)
	}
	return net.JoinHostPort(host, port)
}

func (l *listeners) close() error {
	err := l.public.Close()
	if l.admin != nil {
		err = errors.Join(err, l.admin.Close())
	}
	return err
}

// peerLimit closes the connections of a peer that has too many already. Proxies
// are exempt, since they speak for many, and so is this machine.
type peerLimit struct {
	net.Listener
	exempt func(netip.Addr) bool

	mu   sync.Mutex
	open map[netip.Addr]int
}

// Accept implements net.Listener.
func (l *peerLimit) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, ok := peerOf(c)
		if !ok || l.exempt(peer) {
			return c, nil
		}
		if l.add(peer) {
			return &countedConn{Conn: c, closed: func() { l.remove(peer) }}, nil
		}
		_ = c.Close()
	}
}

func peerOf(c net.Conn) (netip.Addr, bool) {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	return a.Addr().Unmap(), err == nil
}

func (l *peerLimit) add(peer netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[peer] >= maxConnectionsOfPeer {
		return false
	}
	l.open[peer]++
	return true
}

func (l *peerLimit) remove(peer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[peer]--; l.open[peer] <= 0 {
		delete(l.open, peer)
	}
}

// countedConn tells once that it was closed.
type countedConn struct {
	net.Conn
	closed func()
	once   sync.Once
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.once.Do(c.closed)
	return c.Conn.Close()
}
