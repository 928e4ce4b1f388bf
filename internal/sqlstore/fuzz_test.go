package sqlstore

import (
	"slices"
	"strings"
	"testing"
)

// FuzzList: a list of texts comes back from the database as it was, and what else may
// stand there is a list or an error.
func FuzzList(f *testing.F) {
	for _, seed := range []string{"", "[]", `["pwd"]`, `["a","b"]`, "a/b/c", "null", "{}", `["\ud800"]`, `[1]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(strings.ToValidUTF8(text, "?"), "/")
		back, err := fromList(toList(list))
		if err != nil || !slices.Equal(back, list) {
			t.Errorf("%q came back as %q, %v", list, back, err)
		}
		read, err := fromList(text)
		if err != nil {
			return
		}
		if again, err := fromList(toList(read)); err != nil || !slices.Equal(again, read) {
			t.Errorf("%q is %q, and then %q, %v", text, read, again, err)
		}
	})
}
