//go:build unix

package config

import "syscall"

// writable reports whether files can be made in a directory.
func writable(dir string) bool {
	const writeAndSearch = 2 | 1 // W_OK | X_OK of access(2)
	return syscall.Access(dir, writeAndSearch) == nil
}
