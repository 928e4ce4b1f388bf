package accesstoken_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// An API, protected.
func Example() {
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://login.example",
		Audience: []string{"https://api.example/orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := accesstoken.FromContext(r.Context())
		fmt.Fprintln(w, "hello,", token.Subject)
	})
	log.Fatal(http.ListenAndServe(":8080", verifier.Middleware(hello)))
}

// Every token needs orders:read; who changes something needs orders:write as well.
func ExampleVerifier_Require() {
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://login.example",
		Audience: []string{"https://api.example/orders"},
		Scopes:   []string{"orders:read"},
		HTTP: accesstoken.HTTP{
			ResourceMetadata: "https://api.example/.well-known/oauth-protected-resource/orders",
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	list := func(http.ResponseWriter, *http.Request) {}
	create := func(http.ResponseWriter, *http.Request) {}

	mux := http.NewServeMux()
	mux.Handle("GET /orders", verifier.Middleware(http.HandlerFunc(list)))
	mux.Handle("POST /orders", verifier.Require("orders:write")(http.HandlerFunc(create)))
	log.Fatal(http.ListenAndServe(":8080", mux))
}

// What a token must allow may be known only within the handler.
func ExampleVerifier_Refuse() {
	var verifier *accesstoken.Verifier // of NewVerifier

	ship := func(w http.ResponseWriter, r *http.Request) {
		token, _ := accesstoken.FromContext(r.Context())
		if err := token.CheckScope("ship:" + r.PathValue("country")); err != nil {
			verifier.Refuse(w, err) // 403, and the client learns which scope it needs
			return
		}
		fmt.Fprintln(w, "on its way")
	}
	http.Handle("POST /orders/{id}/shipments/{country}", verifier.Middleware(http.HandlerFunc(ship)))
}

// Not everything is HTTP: a token may come in a message, or in the metadata of gRPC.
func ExampleVerifier_Verify() {
	var verifier *accesstoken.Verifier // of NewVerifier

	check := func(ctx context.Context, raw string) (string, error) {
		token, err := verifier.Verify(ctx, raw)
		switch {
		case errors.Is(err, accesstoken.ErrUnavailable):
			return "", errors.New("try again later")
		case err != nil:
			return "", errors.New("get a new access token")
		}
		return token.Subject, nil
	}
	_ = check
}

// An API that OroCommerce's clients call, with the tokens of /oauth2-token and with
// OroCommerce's answers.
func ExampleNewVerifier_oroCommerce() {
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://shop.example",
		Profile:  accesstoken.OroCommerce,
		Audience: []string{"storefront", "mobile"}, // the clients that may come; or AnyClient
		HTTP:     accesstoken.HTTP{Style: accesstoken.OroCommerceStyle},
	})
	if err != nil {
		log.Fatal(err)
	}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := accesstoken.FromContext(r.Context())
		fmt.Fprintln(w, "hello,", token.Subject) // the username, here
	})
	log.Fatal(http.ListenAndServe(":8080", verifier.Middleware(hello)))
}

// Without any request: a token dies when this process has seen the one that a refresh put
// in its place.
func ExampleNewGenerations() {
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://login.example",
		Audience: []string{"https://api.example/orders"},
		Liveness: accesstoken.NewGenerations(accesstoken.GenerationsConfig{}),
	})
	_, _ = verifier, err
}

// The issuer is asked about each token, once in two seconds at most. It answers the
// clients that a token was issued to or that its audience names, so the API is registered
// as a client by the name it has as a resource.
func ExampleNewIntrospection() {
	introspection, err := accesstoken.NewIntrospection(accesstoken.IntrospectionConfig{
		Issuer:       "https://login.example",
		ClientID:     "https://api.example/orders",
		ClientSecret: accesstoken.Secret(os.Getenv("ORDERS_API_SECRET")),
		CacheFor:     2 * time.Second,
	})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://login.example",
		Audience: []string{"https://api.example/orders"},
		Liveness: introspection,
	})
	_, _ = verifier, err
}

// The issuer tells of what died, in the background; together with the generation rule,
// which knows of a refresh as soon as its token comes here.
func ExampleNewFeed() {
	feed, err := accesstoken.NewFeed(accesstoken.FeedConfig{
		Issuer:       "https://login.example",
		ClientID:     "orders-api",
		ClientSecret: accesstoken.Secret(os.Getenv("ORDERS_API_SECRET")),
		OnError:      func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Print(feed.Run(context.Background())) }()

	verifier, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer:   "https://login.example",
		Audience: []string{"https://api.example/orders"},
		Liveness: accesstoken.All(feed, accesstoken.NewGenerations(accesstoken.GenerationsConfig{})),
	})
	_, _ = verifier, err
}
