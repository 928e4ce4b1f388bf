package main

import (
	"encoding/json"
	"log"
	"net/http"
	"sync"

	"github.com/counterfoil/counterfoil/accesstoken"
)

// order is a resource of the API.
type order struct {
	ID   int    `json:"id"`
	Item string `json:"item"`
	By   string `json:"by"` // the subject of the access token
}

// orders are kept in memory.
type orders struct {
	mu  sync.Mutex
	all []order
}

// newAPI returns the API, for access tokens of an issuer, and the feed that tells it which
// of them died before they expired: the feed must run.
func newAPI(i issuer) (http.Handler, *accesstoken.Feed, error) {
	feed, err := accesstoken.NewFeed(accesstoken.FeedConfig{
		Issuer: i.url, ClientID: i.id, ClientSecret: i.secret,
		OnError: func(err error) { log.Print(err) },
	})
	if err != nil {
		return nil, nil, err
	}
	tokens, err := accesstoken.NewVerifier(accesstoken.Config{
		Issuer: i.url, Profile: accesstoken.Standard, Audience: []string{i.id},
		// The feed knows what was refreshed, revoked or blocked within milliseconds. The
		// other way needs no news: a token seen here is the end of those before it.
		Liveness: accesstoken.All(accesstoken.NewGenerations(accesstoken.GenerationsConfig{}), feed),
	})
	if err != nil {
		return nil, nil, err
	}
	var o orders
	mux := http.NewServeMux()
	mux.Handle("GET /orders", tokens.Require("orders:read")(http.HandlerFunc(o.list)))
	mux.Handle("POST /orders", tokens.Require("orders:write")(http.HandlerFunc(o.create)))
	return mux, feed, nil
}

func (o *orders) list(w http.ResponseWriter, _ *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	send(w, http.StatusOK, append([]order{}, o.all...)) // none are [], not null
}

func (o *orders) create(w http.ResponseWriter, r *http.Request) {
	var made order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&made); err != nil || made.Item == "" {
		http.Error(w, `An order is {"item":"…"}.`, http.StatusBadRequest)
		return
	}
	token, _ := accesstoken.FromContext(r.Context())
	o.mu.Lock()
	defer o.mu.Unlock()
	made.ID, made.By = len(o.all)+1, token.Subject
	o.all = append(o.all, made)
	send(w, http.StatusCreated, made)
}

func send(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}
