//go:build race

package program

// buildFlags: the program is built like its test, and a race ends it with an error.
var buildFlags = []string{"build", "-race"}
