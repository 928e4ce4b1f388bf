package feed

import (
	"slices"
	"time"
)

// Cutoff says which access tokens are dead. What it is about is named by the first of
// GrantID, Subject and ClientID that is not empty; a later one about the same replaces
// it.
type Cutoff struct {
	// Of a grant: its tokens of a generation below Generation, but the one before that
	// only from PreviousUntil on; all of them, if it ended.
	GrantID       string
	Generation    uint32
	PreviousUntil time.Time // zero: at once
	Ended         bool

	// Of a user: the tokens with this `sub` (RFC 9068), and of these grants, while blocked.
	Subject  string
	GrantIDs []string

	// Of a client: all of its tokens while it is blocked, and those it got for itself
	// whose claim client_not_before is lower.
	ClientID  string
	NotBefore int64 // microseconds since 1970; 0: none

	Blocked   bool      // of a user or a client; false: no more
	ExpiresAt time.Time // no token that it concerns lives longer

	at       time.Time // when it happened, or this node learned of it, by the store's clock
	sequence int64
	name     string // key, once it is in a record
}

// key is what the cut-off is about.
func (c *Cutoff) key() string {
	switch {
	case c.GrantID != "":
		return "g" + c.GrantID
	case c.Subject != "":
		return "s" + c.Subject
	}
	return "c" + c.ClientID
}

// adds reports whether the cut-off says anything that the last one about the same did
// not: a grant that ended stays so, and generations only grow. Who was let in and blocked
// again between two looks may have got tokens in between, which live longer.
func (c *Cutoff) adds(last *Cutoff) bool {
	if c.GrantID != "" {
		return !last.Ended && (c.Ended || c.Generation > last.Generation)
	}
	if c.Blocked && c.ExpiresAt.After(last.ExpiresAt) {
		return true
	}
	return c.Blocked != last.Blocked || c.NotBefore != last.NotBefore || !slices.Equal(c.GrantIDs, last.GrantIDs)
}
