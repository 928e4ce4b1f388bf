// Package rotation checks the decision about a refresh token, docs/rotation.md, against
// that text written down a second time (model_test.go, token_test.go): random lives of
// many grants on every store, the edges of every window and lifetime to the
// nanosecond, and every failure of every operation of the store.
//
// It owns one process with one server and requests that follow, or deliberately
// interrupt, each other. It leaves real concurrency to the check of histories and
// killed processes to the check of crashes.
package rotation
