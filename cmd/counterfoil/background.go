package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/feed"
)

// How often the server does what it does by itself.
const (
	refreshInterval = 500 * time.Millisecond // keys hold at every node within a second
	saveInterval    = time.Second
	useInterval     = 30 * time.Second // a client's last use is told to the minute
	firstCleanup    = time.Minute
	cleanupInterval = time.Hour
	cleanupTimeout  = 10 * time.Minute
)

// work starts what the server does by itself, until the context ends.
func (s *server) work(ctx context.Context, running *sync.WaitGroup) {
	changed := make(chan struct{}, 1)
	running.Go(func() { s.Store.Watch(ctx, func() { wake(changed) }) })
	running.Go(func() { s.every(ctx, changed, refreshInterval, refreshInterval, "refresh keys", s.refresh) })
	running.Go(func() {
		s.every(ctx, nil, saveInterval, saveInterval, "save secret failures", s.oauth.SaveSecretFailures)
	})
	running.Go(func() { s.every(ctx, nil, useInterval, useInterval, "save client use", s.oauth.SaveClientUse) })
	running.Go(func() { s.every(ctx, nil, feed.Interval, feed.Interval, "revocation feed", s.feed.Step) })
	running.Go(func() { s.every(ctx, nil, firstCleanup, cleanupInterval, "clean up", s.cleanUp) })
}

// wake lets who waits for a channel go on, now or when next he waits.
func wake(waiting chan<- struct{}) {
	select {
	case waiting <- struct{}{}:
	default:
	}
}

// every does something again and again, and at once when it is woken. A fault that
// stays is logged once.
func (s *server) every(ctx context.Context, woken <-chan struct{}, first, interval time.Duration, what string, do func(context.Context) error) {
	timer := time.NewTimer(first)
	defer timer.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-woken:
		}
		text := ""
		if err := do(ctx); err != nil && ctx.Err() == nil {
			text = err.Error()
		}
		switch {
		case text != "" && text != last:
			s.Log.Error(what, "error", text)
		case text == "" && last != "":
			s.Log.Info(what + ": works again")
		}
		last = text
		timer.Reset(interval)
	}
}

// refresh takes over what the command line or another node changed: the master
// keys, then the signing keys that may be sealed under them, and the certificate.
func (s *server) refresh(ctx context.Context) error {
	if err := s.refreshMasterKeys(ctx); err != nil {
		return err
	}
	if err := s.ring.Refresh(ctx); err != nil {
		return err
	}
	if s.certificate == nil {
		return nil
	}
	return s.certificate.refresh()
}

// refreshMasterKeys also looks which keys the database has seen: what was made
// under one that is not here yet is no forgery. Requests call it too, when they
// meet a key that is unknown here.
func (s *server) refreshMasterKeys(ctx context.Context) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	keys, file := s.Keys(), &s.keyFile
	if s.Config.MasterKey == "" && file.changed() {
		read, err := admin.ReadMasterKeys(file.path)
		if err != nil {
			file.again()
			return err
		}
		keys = read
	}
	keys, err := admin.ReloadedMasterKeys(ctx, s.Store, keys)
	if err != nil {
		file.again()
		return err
	}
	s.keys.Store(keys)
	return nil
}

// cleanUp deletes what is over, unless another node is about it.
func (s *server) cleanUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	_, err := s.Store.Alone(ctx, "clean up", func(ctx context.Context) error {
		removed, err := s.Operator.Cleanup(ctx, cleanupOf(s.Config, deadFor))
		if err == nil {
			s.Log.Info("cleaned up", "grants", removed.Grants, "events", removed.Events, "failures", removed.Failures, "secrets", removed.Secrets, "sessions", removed.Sessions)
		}
		return err
	})
	return err
}

// watchedFile notices that a file was changed or replaced.
type watchedFile struct {
	path  string
	last  os.FileInfo // nil: there was none
	stale bool
}

// changed reports whether the file is another one than at the last call.
func (f *watchedFile) changed() bool {
	info, err := os.Stat(f.path)
	if err != nil {
		info = nil
	}
	last, stale := f.last, f.stale
	f.last, f.stale = info, false
	if stale || info == nil || last == nil {
		return stale || info != last
	}
	return !os.SameFile(info, last) || !info.ModTime().Equal(last.ModTime()) || info.Size() != last.Size()
}

// again lets the next call of changed report true.
func (f *watchedFile) again() { f.stale = true }

// certificate is that of the public listener. It follows its files, which are
// renewed while the server runs.
type certificate struct {
	cert, key *watchedFile
	current   atomic.Pointer[tls.Certificate]
}

// openCertificate reads a certificate and its key; there is none without a path.
func openCertificate(cert, key string) (*certificate, error) {
	if cert == "" {
		return nil, nil
	}
	c := &certificate{cert: &watchedFile{path: cert, stale: true}, key: &watchedFile{path: key}} // not read yet
	return c, c.refresh()
}

// refresh reads the files again if one of them changed. While they do not fit, as
// between the writing of the two, the certificate before stays.
func (c *certificate) refresh() error {
	certChanged, keyChanged := c.cert.changed(), c.key.changed()
	if !certChanged && !keyChanged {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert.path, c.key.path)
	if err != nil {
		c.cert.again()
		return fmt.Errorf("tls_cert and tls_key cannot be used: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}
