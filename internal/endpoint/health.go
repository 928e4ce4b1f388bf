package endpoint

import (
	"fmt"
	"net/http"
)

// live answers as long as the process serves requests at all.
func (e *endpoint) live(w *response, _ *http.Request) error {
	return healthy(w)
}

// ready answers 200 if the server can do its work, else 503 like any fault.
func (e *endpoint) ready(w *response, r *http.Request) error {
	if err := e.Ready(r.Context()); err != nil {
		return fmt.Errorf("not ready: %w", err)
	}
	return healthy(w)
}

func healthy(w *response) error {
	w.Header()["Cache-Control"] = noStore
	w.send(http.StatusOK, jsonType, []byte(`{"status":"ok"}`))
	return nil
}
