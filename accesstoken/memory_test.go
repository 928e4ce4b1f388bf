package accesstoken

import (
	"fmt"
	"testing"
	"time"
)

// What is remembered of tokens has bounds, and what is beyond them works all the same.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	set := &keySet{}
	set.headers.Store(&map[string]*key{})
	source := &keySource{}
	now := time.Unix(1700000000, 0)
	for n := range 2 * maxUnknown {
		set.remember(fmt.Sprint(n), &key{})
		source.noteUnknown(fmt.Sprint(n), now)
		if !source.isUnknown(fmt.Sprint(n), now) {
			t.Fatalf("key %d is not remembered", n)
		}
	}
	if n := len(*set.headers.Load()); n != maxHeaders {
		t.Errorf("%d headers are remembered, want %d", n, maxHeaders)
	}
	if n := len(source.unknown); n > maxUnknown {
		t.Errorf("%d unknown keys are remembered, want %d at most", n, maxUnknown)
	}
}
