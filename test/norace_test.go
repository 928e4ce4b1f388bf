//go:build !race

package test

// buildFlags builds the program as it is shipped.
var buildFlags = []string{"build"}
