package nodes

import (
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

// TestDatabaseHangs: when the database stops to answer, as a machine that is paused, or
// whose disk hangs, every request is told soon to come again, however many there are.
func TestDatabaseHangs(t *testing.T) {
	t.Parallel()
	const requests, patience = 300, 3 * time.Second
	database := own(t, nil)
	node := newNode(t, database.URL("postgres"), masterKey)
	node.Run("", "migrate", "up")
	node.Start()
	sessions := []*session{logIn(t, node, "first"), logIn(t, node, "second"), logIn(t, node, "third")}
	for _, s := range sessions {
		s.refresh(t, node, http.StatusOK)
	}
	if err := database.SignalAll(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	answers := make([]program.Tokens, requests)
	begun := time.Now()
	var working sync.WaitGroup
	for i := range answers {
		working.Go(func() {
			var err error
			if answers[i], err = refreshWithin(t.Context(), time.Minute, node, sessions[i%len(sessions)]); err != nil {
				t.Error(err)
			}
		})
	}
	working.Wait()
	if took := time.Since(begun); took > 2*patience+2*time.Second {
		t.Errorf("the last answer came after %s, want about two times %s at most", took, patience)
	}
	for i, a := range answers {
		if a.Status != http.StatusServiceUnavailable {
			t.Errorf("request %d: status %d %s", i, a.Status, a.Error)
		}
	}
	if err := database.SignalAll(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		eventually(t, 10*time.Second, "an answer with the database back", func() bool {
			answer, err := refreshWithin(t.Context(), 10*time.Second, node, s)
			if err != nil || answer.Status != http.StatusOK && answer.Status != http.StatusServiceUnavailable {
				t.Fatalf("with the database back: %+v, %v", answer, err)
			}
			return answer.Status == http.StatusOK
		})
	}
}
