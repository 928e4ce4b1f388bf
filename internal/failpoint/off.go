//go:build !failpoints

package failpoint

import "net/http"

// Reach does nothing in this build.
func Reach(string) {}

// Halve returns w in this build: an answer is written in one piece.
func Halve(_ string, w http.ResponseWriter) http.ResponseWriter { return w }
