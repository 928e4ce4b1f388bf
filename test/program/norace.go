//go:build !race

package program

// buildFlags builds the program as it is shipped.
var buildFlags = []string{"build"}
