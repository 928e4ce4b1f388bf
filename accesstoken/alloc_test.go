//go:build !race

package accesstoken_test

import (
	"context"
	"testing"
)

// Verify adds no memory to that of the signature check, which needs none for EdDSA, but
// the token, its claims, and the lists of scope and audience.
func TestVerifyAllocates(t *testing.T) {
	i := newIssuer(t, edDSA())
	v := newVerifier(t, i.config())
	raw := edDSA().token(i.claims())
	got := testing.AllocsPerRun(200, func() {
		if _, err := v.Verify(context.Background(), raw); err != nil {
			t.Error(err)
		}
	})
	if got > 4 {
		t.Errorf("%v allocations, want 4", got)
	}
}
