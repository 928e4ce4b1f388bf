package main

import "testing"

// TestFlagOf: what a client's lifetime is called is not taken for the server's.
func TestFlagOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		command []string
		want    bool
	}{
		{[]string{"config", "show"}, true},
		{[]string{"key", "list"}, true},
		{[]string{"client", "create"}, false},
	} {
		cmd, _, err := newRootCommand().Find(test.command)
		if err != nil {
			t.Fatal(err)
		}
		if _, given := flagOf(cmd)("access-token-lifetime"); given {
			t.Errorf("%v: a flag that was not given counts", test.command)
		}
		if err := cmd.ParseFlags([]string{"--access-token-lifetime", "5m"}); err != nil {
			t.Fatal(err)
		}
		text, given := flagOf(cmd)("access-token-lifetime")
		if given != test.want || given && text != "5m" {
			t.Errorf("%v --access-token-lifetime 5m: the setting is %q, %t; want it set: %t", test.command, text, given, test.want)
		}
	}
}
