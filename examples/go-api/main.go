// Command go-api is an example of an API in Go that takes Counterfoil's access tokens.
//
//	go run ./examples/go-api
//
// starts a throw-away Counterfoil beside it and prints calls to paste into a shell. With
// -issuer and the client that the API is at that issuer, it uses the given one. api.go is
// what one would write; the rest is there so that it can be tried.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// issuer is a Counterfoil, and the client that the API is there.
type issuer struct {
	url    string
	id     string
	secret accesstoken.Secret
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "go-api:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	listen := flag.String("listen", "127.0.0.1:0", "where the API listens")
	url := flag.String("issuer", "", "the issuer to use; without it a throw-away Counterfoil is started")
	id := flag.String("client-id", "orders-api", "the client that the API is at the issuer: tokens must be for it")
	secretFile := flag.String("client-secret-file", "", "a file with that client's secret")
	flag.Parse()

	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	if *url != "" {
		secret, err := os.ReadFile(*secretFile)
		if err != nil {
			return fmt.Errorf("client secret: %w", err)
		}
		return serve(ctx, l, issuer{url: *url, id: *id, secret: accesstoken.Secret(strings.TrimSpace(string(secret)))}, "")
	}
	server, err := startCounterfoil(ctx, *id)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	return serve(ctx, l, server.issuer, server.calls("http://"+l.Addr().String()))
}

// serve runs the API until ctx ends. The calls are printed when they can be made.
func serve(ctx context.Context, l net.Listener, i issuer, calls string) error {
	api, feed, err := newAPI(i)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	followed := make(chan error, 1)
	go func() { followed <- feed.Run(ctx) }()
	server := &http.Server{Handler: api, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	fmt.Fprintf(os.Stderr, "The API runs at http://%s until Ctrl-C.\n", l.Addr())
	if calls != "" {
		fmt.Fprint(os.Stderr, "In another terminal, paste these calls:\n\n")
		fmt.Print(calls)
		fmt.Fprint(os.Stderr, "\nEach shows its answer: 200, 201, 200, and 200 and 401.\n")
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	inTime, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(server.Shutdown(inTime), <-followed)
}
