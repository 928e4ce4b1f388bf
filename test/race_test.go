//go:build race

package test

// buildFlags: the program is built like its test, and a race ends it with an error.
var buildFlags = []string{"build", "-race"}
