// Package config reads the settings of an installation.
//
// It owns the one list of settings, from which flags, environment variables, keys
// of the file, `config show` and the table of the documentation derive; their
// precedence; and the rules a single setting or several together must keep. What
// the settings bring about is left to the packages that they are handed to; it
// reads no file but the configuration file.
package config
