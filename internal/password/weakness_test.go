package password

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

func TestWeakness(t *testing.T) {
	t.Parallel()
	const short, easy = "It is shorter than 8 characters.", "It is easy to guess."
	for _, c := range []struct {
		password oauth.Secret
		inputs   []string
		want     string
	}{
		{"", nil, short},
		{"Xk7#qPz", nil, short},
		{"ééééééé", nil, short}, // 14 bytes, 7 characters
		{"password", nil, easy},
		{"password123", nil, easy},
		{"aaaaaaaaaaaaaaaaaaaa", nil, easy},
		{"correct horse battery staple", nil, ""},
		{"Xk7#qPz!m2Wv", nil, ""},
		{"wolkenkuckucksheim", nil, ""},
		{"wolkenkuckucksheim", []string{"Wolkenkuckucksheim"}, easy},
		{"wolkenkuckucksheim", []string{"jane.wolkenkuckucksheim@example.com"}, easy},
		{"wolkenkuckucksheim1", []string{"jane", "wolkenkuckucksheim"}, easy},
		{oauth.Secret(strings.Repeat("Xk7#qPz!m2Wv", 300)), nil, ""},
	} {
		if got := Weakness(c.password, c.inputs...); got != c.want {
			t.Errorf("Weakness of %q with %q is %q; want %q", string(c.password), c.inputs, got, c.want)
		}
	}
}

// A megabyte must not take longer than its first bytes: zxcvbn alone would need years.
func TestWeaknessIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("4@8({[<3691!|0$+7%2", 50_000)
	before := time.Now()
	Weakness(oauth.Secret(long), long, long)
	if took := time.Since(before); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}
