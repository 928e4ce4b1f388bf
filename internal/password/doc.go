// Package password checks passwords against the hashes of a local directory.
//
// It owns the hash formats (argon2id for new ones, and those taken over from PHP
// and Symfony), the gate that bounds how many are computed at once, and the
// directory of local users. Where users are kept is its port Users's.
package password
