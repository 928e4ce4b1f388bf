// Package password checks passwords against the hashes of a local directory.
//
// It owns the hash formats (argon2id for new ones, and those taken over from PHP
// and Symfony), the gate that bounds how many are computed at once, the directory
// of local users, the memory of client secrets that somebody chose, and the
// judgement of weak passwords. It leaves to package oauth what follows from a wrong
// password, and the hashes of generated client secrets. Where users are kept is
// its port Users's.
package password
