package signing

import (
	"crypto/sha256"
	"sync"
)

// mostVerified is how many tokens of a key are remembered at least, and half of how many
// at most: some 100 octets each.
const mostVerified = 1 << 14

// verified remembers tokens whose signature was found good: an API asks about the same
// one with every request, and the check of the signature would be half of the answer.
// It says nothing about whether the token still counts.
type verified struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]struct{} // the old ones go when there are too many young ones
}

// has reports whether the token was found good lately.
func (v *verified) has(token string) (digest [sha256.Size]byte, ok bool) {
	digest = sha256.Sum256([]byte(token))
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok = v.young[digest]; ok {
		return digest, true
	}
	if _, ok = v.old[digest]; ok {
		v.put(digest)
	}
	return digest, ok
}

// add remembers a token.
func (v *verified) add(digest [sha256.Size]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(digest)
}

func (v *verified) put(digest [sha256.Size]byte) {
	if v.young == nil || len(v.young) >= mostVerified {
		v.young, v.old = map[[sha256.Size]byte]struct{}{}, v.young
	}
	v.young[digest] = struct{}{}
}
