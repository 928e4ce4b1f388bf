package memory_test

import (
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/memory"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(_ *testing.T, now func() time.Time) storetest.Store { return memory.New(now) })
}

func TestNotedRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	const most = 10_000
	s := memory.New(time.Now)
	for range most + 1 {
		s.NoteRefusal(oauth.Event{RequestID: "first"})
	}
	for i, request := range []string{"second", "third"} {
		s.NoteRefusal(oauth.Event{RequestID: request})
		first, err := s.Events(t.Context(), "first")
		if err != nil {
			t.Fatal(err)
		}
		if want := most - 1 - i; len(first) != want {
			t.Errorf("%d of the first request's refusals are remembered, want %d", len(first), want)
		}
		if last, err := s.Events(t.Context(), request); err != nil || len(last) != 1 {
			t.Errorf("the newest refusal: got %d events, %v; want 1", len(last), err)
		}
	}
}
