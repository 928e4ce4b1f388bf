package feed

import (
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// record is what was cut off, in the order in which this node learned of it. Of several
// cut-offs about the same the last one counts; the others are dropped now and then.
type record struct {
	name    string // of this life of this node's record, in cursors
	entries []Cutoff
	latest  map[string]int64 // sequence of the last entry, by Cutoff.key
	last    int64            // the sequence given last
	since   time.Time        // what was cut off before is not complete
	asOf    time.Time        // what was cut off before, by the store's clock, is here; it does not go back
}

// put adds a cut-off, if it says anything new.
func (r *record) put(c Cutoff) bool {
	c.name = c.key()
	if sequence, known := r.latest[c.name]; known {
		last := &r.entries[r.index(sequence)]
		if !c.adds(last) {
			return false
		}
		if c.GrantID == "" && last.ExpiresAt.After(c.ExpiresAt) { // what was let in again must be told as long
			c.ExpiresAt = last.ExpiresAt
		}
	}
	r.last++
	c.sequence = r.last
	r.entries = append(r.entries, c)
	r.latest[c.name] = r.last
	return true
}

// index is where the entry of a sequence is, or the next one.
func (r *record) index(sequence int64) int {
	return sort.Search(len(r.entries), func(i int) bool { return r.entries[i].sequence >= sequence })
}

// forget drops what expired and what was replaced.
func (r *record) forget(now time.Time) {
	r.entries = slices.DeleteFunc(r.entries, func(e Cutoff) bool {
		if r.latest[e.name] != e.sequence {
			return true
		}
		if e.ExpiresAt.Before(now) {
			delete(r.latest, e.name)
			return true
		}
		return false
	})
}

// overlap is how much later than it happened a node may learn of a cut-off, at most: for
// those who come from another node.
const overlap = 3 * time.Minute

// longestAway is how long who comes from another node may have been away: what lets
// somebody in again may be forgotten here before what cut him off is forgotten there.
const longestAway = 30 * time.Minute

// farAhead is how far no other node is ahead, unless the store's clock was set back.
const farAhead = time.Minute

// continues reports whether who was brought up to date elsewhere can go on here.
func (r *record) continues(asOf time.Time) bool {
	return asOf.After(r.since.Add(overlap)) && asOf.After(r.asOf.Add(-longestAway)) && asOf.Before(r.asOf.Add(farAhead))
}

// mostInPage is how many entries one answer has at most, those of a user's grants counted.
const mostInPage = 5000

// cursor is a place in a record: of this node after a sequence, of any other node before
// a time of the store.
type cursor struct {
	name     string
	sequence int64
	asOf     time.Time // zero: whoever reads on elsewhere begins anew
}

// String is the cursor as followers know it.
func (c cursor) String() string {
	micro := int64(0)
	if !c.asOf.IsZero() {
		micro = c.asOf.UnixMicro()
	}
	return c.name + "." + strconv.FormatInt(c.sequence, 10) + "." + strconv.FormatInt(micro, 10)
}

// parseCursor is the reverse of String. Nobody is hurt by a cursor that somebody made up.
func parseCursor(text string) (c cursor, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return c, false
	}
	sequence, err1 := strconv.ParseInt(parts[1], 10, 64)
	micro, err2 := strconv.ParseInt(parts[2], 10, 64)
	if err1 != nil || err2 != nil || sequence < 0 || micro < 0 {
		return c, false
	}
	c = cursor{name: parts[0], sequence: sequence}
	if micro > 0 {
		c.asOf = time.UnixMicro(micro).UTC()
	}
	return c, true
}

// Page is a part of the record.
type Page struct {
	Cutoffs  []Cutoff
	Next     string
	Complete bool // it begins the whole list: what the follower knew before is void
	More     bool // there is more at once
}

// page returns what comes after a cursor; nil: everything.
func (r *record) page(after *cursor) Page {
	var p Page
	from, happened := int64(0), time.Time{}
	switch {
	case after != nil && after.name == r.name && after.sequence <= r.last:
		from = after.sequence
	case after != nil && after.name != r.name && r.continues(after.asOf):
		happened = after.asOf.Add(-overlap)
	default:
		p.Complete = true
	}
	end, size := r.last, 0
	for i := r.index(from + 1); i < len(r.entries); i++ {
		e := &r.entries[i]
		if e.at.Before(happened) || r.latest[e.name] != e.sequence {
			continue
		}
		if size >= mostInPage {
			p.More, end = true, p.Cutoffs[len(p.Cutoffs)-1].sequence
			break
		}
		p.Cutoffs = append(p.Cutoffs, *e)
		size += 1 + len(e.GrantIDs)
	}
	next := cursor{name: r.name, sequence: end, asOf: r.asOf}
	if p.More {
		next.asOf = time.Time{}
	}
	p.Next = next.String()
	return p
}
