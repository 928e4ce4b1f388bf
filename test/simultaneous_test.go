package test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// TestSimultaneousUse: 64 uses of one refresh token at once give one new generation
// and 64 answers with the same successor, at default settings.
func TestSimultaneousUse(t *testing.T) {
	t.Parallel()
	const uses = 64
	p := program.New(t)
	c := p.CreateClient()
	p.CreateUser("user", "right horse staple")
	p.Start()
	first, err := p.Login(c, "user", "right horse staple")
	if err != nil || first.Status != 200 {
		t.Fatalf("login: %+v, %v", first, err)
	}
	answers := make([]program.Tokens, uses)
	var working sync.WaitGroup
	for i := range answers {
		working.Go(func() {
			var err error
			if answers[i], err = p.Refresh(c, first.RefreshToken); err != nil {
				t.Errorf("use %d: %v", i, err)
			}
		})
	}
	working.Wait()
	for i, a := range answers {
		if a.Status != 200 || a.RefreshToken != answers[0].RefreshToken {
			t.Errorf("use %d: status %d, another successor: %v", i, a.Status, a.RefreshToken != answers[0].RefreshToken)
		}
	}
	if status := p.Userinfo(answers[0].AccessToken); status != 200 {
		t.Errorf("the new access token: %d", status)
	}
	if status := p.Userinfo(first.AccessToken); status != 401 {
		t.Errorf("the old access token: %d", status)
	}
	if out := p.Run("", "grant", "list", "-o", "json"); !containsMember(out, "generation", 1) {
		t.Errorf("there is more than one new generation: %s", out)
	}
	p.Stop()
	p.SearchSecrets()
}

func containsMember(list, name string, value any) bool {
	members := decodeList(list)
	return len(members) == 1 && fmt.Sprint(members[0][name]) == fmt.Sprint(value)
}
