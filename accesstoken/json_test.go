package accesstoken

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// tree reads any value with scanner, as encoding/json reads it into an any with UseNumber.
func (s *scanner) tree() (v any, ok bool) {
	switch s.peek() {
	case '{':
		object := map[string]any{}
		return object, s.object(func(name string) bool {
			object[name], ok = s.tree()
			return ok
		})
	case '[':
		list := []any{}
		ok = s.array(func() bool {
			v, ok := s.tree()
			list = append(list, v)
			return ok
		})
		return list, ok
	case '"':
		return s.string()
	case 't', 'f':
		yes := s.peek() == 't'
		return yes, s.skip()
	case 'n':
		return nil, s.skip()
	}
	text, ok := s.number()
	return json.Number(text), ok
}

// scan reads an object twice: as a tree, and by skipping it.
func scan(t *testing.T, text string) (any, bool) {
	t.Helper()
	if !utf8.ValidString(text) {
		return nil, false
	}
	object := map[string]any{}
	s := scanner{text: text}
	ok := s.document(func(name string) (ok bool) {
		object[name], ok = s.tree()
		return ok
	})
	skipper := scanner{text: text}
	if skipped := skipper.document(nil); skipped != ok {
		t.Fatalf("%q: read %v, skipped %v", text, ok, skipped)
	}
	return object, ok
}

var goodObjects = []string{
	`{}`, " \t\r\n{ \"a\" : 1 , \"b\" : [ ] } \n", `{"":""}`, `{"a":{"b":[1,{"c":null}],"d":true,"e":false}}`,
	`{"n":[0,-0,1.5,1e9,1E+9,1e-9,-12.25e3,1795436080.677046]}`, `{"s":"\"\\\/\b\f\n\r\t\u00e4\u20AC\ud83d\uDE00 ä€😀"}`,
	`{"\u0061":"a","A":"b"}`, `{"a":"\u0000"}`, `{"a":"` + "\u2028\u007f" + `"}`,
	`{"a":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`,
}

var badObjects = []string{
	``, ` `, `{`, `}`, `[]`, `null`, `"{}"`, `1`, `{}{}`, `{} x`, "{}\x00", `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" 1}`, `{"a":1 "b":2}`, `{a:1}`, `{'a':1}`,
	`{"a":1`, `{"a":"`, `{"a":"\`, `{"a":"\"`, `{"a":"\u12`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1}`, `{"a":[1 2]}`, `{"a":]}`,
	`{"a":01}`, `{"a":-}`, `{"a":- 1}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1.e5}`, `{"a":1e}`, `{"a":1e+}`, `{"a":0x10}`, `{"a":NaN}`, `{"a":1_0}`, `{"a":1.5.5}`,
	`{"a":tru}`, `{"a":True}`, `{"a":nulll}`, `{"a":"\x41"}`, `{"a":"\u00g0"}`, `{"a":"\u+041"}`, "{\"a\":\"\\u\x10041\"}", "{\"a\":\"\n\"}", "{\"a\":\"\\n\t\"}", "{\"a\":\"\x00\"}",
	"{\"a\":\"\xff\"}", "{\"\xc0\x80\":1}", "\ufeff{}", `{"a":"\U0041"}`, `{"a":1}//`, "{\v\"a\":1}", "{\u00a0\"a\":1}",
	// Stricter than encoding/json:
	`{"a":1,"a":1}`, `{"a":1,"b":2,"\u0061":3}`, `{"x":{"a":1,"a":2}}`, `{"a":"\ud83d"}`, `{"a":"\ud83dx"}`, `{"a":"\ud83d\n"}`, `{"a":"\ude00"}`, `{"a":"\ud83d\u0041"}`, `{"a":"\ude00\ud83d"}`,
	`{"a":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`,
	`{"a":` + strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth) + `}`,
}

func TestScanner(t *testing.T) {
	t.Parallel()
	for _, text := range goodObjects {
		if _, ok := scan(t, text); !ok {
			t.Errorf("%s was refused", text)
		}
		compareWithEncodingJSON(t, text)
	}
	for _, text := range badObjects {
		if v, ok := scan(t, text); ok {
			t.Errorf("%q was read as %v", text, v)
		}
	}
}

// An object of 64 members is read, one of 65 is not: names are compared with one another.
func TestScannerMembers(t *testing.T) {
	t.Parallel()
	object := func(n int) string {
		members := make([]string, n)
		for i := range members {
			members[i] = `"` + strings.Repeat("m", i) + `":0`
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	if _, ok := scan(t, object(maxMembers)); !ok {
		t.Errorf("an object of %d members was refused", maxMembers)
	}
	if _, ok := scan(t, object(maxMembers+1)); ok {
		t.Errorf("an object of %d members was read", maxMembers+1)
	}
}

func TestScannerTime(t *testing.T) {
	t.Parallel()
	good := map[string]time.Time{
		"0": time.Unix(0, 0), "1700000000": time.Unix(1700000000, 0), "1795436080.677046": time.Unix(1795436080, 677046000),
		"1.000000001": time.Unix(1, 1), "1.9999999999999": time.Unix(1, 999999999), "253402300799.5": time.Unix(253402300799, 500000000),
	}
	for text, want := range good {
		var got time.Time
		s := scanner{text: text}
		if !s.time(&got) || !got.Equal(want) {
			t.Errorf("%s was read as %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"-1", "-0", "1e9", "1E9", "1.5e3", "1.1234567890e9", "253402300800", "9223372036854775808", `"1700000000"`, "null", "", ".5", "true"} {
		var got time.Time
		s := scanner{text: text}
		if s.time(&got) {
			t.Errorf("%s was read as %v", text, got)
		}
	}
}

// compareWithEncodingJSON: what scanner reads, encoding/json reads alike; what it does
// not, encoding/json refuses too, or it is one of the ways in which scanner is stricter.
func compareWithEncodingJSON(t *testing.T, text string) {
	t.Helper()
	got, ok := scan(t, text)
	var want map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(&want)
	valid := err == nil && want != nil && json.Valid([]byte(text)) && utf8.ValidString(text)
	switch {
	case ok && !valid:
		t.Fatalf("%q was read as %v; encoding/json: %v", text, got, err)
	case ok && !reflect.DeepEqual(got, any(want)):
		t.Fatalf("%q was read as %v, want %v", text, got, want)
	case !ok && valid && !isStricter(t, text):
		t.Fatalf("%q was refused; encoding/json reads %v", text, want)
	}
}

// isStricter says whether valid JSON has what scanner refuses: a name twice, a lone
// surrogate, too much depth or too many members.
func isStricter(t *testing.T, text string) bool {
	t.Helper()
	type object struct{ names []string }
	var open []*object // nil: a list
	decoder := json.NewDecoder(strings.NewReader(text))
	isName := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		name, isText := token.(string)
		if isText && strings.ContainsRune(name, utf8.RuneError) {
			return true // for the comparison: encoding/json writes it for a lone surrogate
		}
		inner := len(open) > 0 && open[len(open)-1] != nil
		if inner && isName && isText {
			o := open[len(open)-1]
			if slices.Contains(o.names, name) || len(o.names) == maxMembers {
				return true
			}
			o.names = append(o.names, name)
			isName = false
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, &object{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxDepth {
			return true
		}
		isName = true
	}
}

func FuzzScanner(f *testing.F) {
	for _, text := range slices.Concat(goodObjects, badObjects) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > maxTokenBytes || bytes.Contains(text, []byte("\ufffd")) {
			return
		}
		compareWithEncodingJSON(t, string(text))
	})
}

// FuzzParseToken: claims that are read agree with encoding/json about all that is used.
func FuzzParseToken(f *testing.F) {
	f.Add([]byte(`{"iss":"i","sub":"s","aud":["a","b"],"client_id":"c","scope":"x y","iat":1,"nbf":1.5,"exp":2,"jti":"j","grant_id":"g","gen":3,"client_not_before":4,"cnf":{"jkt":"k"}}`), false)
	f.Add([]byte(`{"iss":"i","sub":"","aud":"a","client_id":"c","scopes":["x",7],"iat":1,"exp":2.25,"jti":"j"}`), true)
	f.Fuzz(func(t *testing.T, payload []byte, oro bool) {
		profile := Standard
		if oro {
			profile = OroCommerce
		}
		token, err := parseToken(profile, "raw", string(payload))
		if err != nil {
			return
		}
		want := map[string]any{}
		decoder := json.NewDecoder(bytes.NewReader(payload))
		decoder.UseNumber()
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("%q was read as %v; encoding/json: %v", payload, token, err)
		}
		compareClaims(t, token, want)
		var again map[string]any
		if err := token.Claims(&again); err != nil || len(again) != len(want) {
			t.Fatalf("%q: Claims = %v, %v; want %v", payload, again, err, want)
		}
	})
}

func compareClaims(t *testing.T, token *Token, want map[string]any) {
	t.Helper()
	texts := map[string]string{"iss": token.Issuer, "sub": token.Subject, "client_id": token.ClientID, "jti": token.ID, "grant_id": token.GrantID}
	for name, got := range texts {
		if w, _ := want[name].(string); got != w {
			t.Fatalf("%s is %q, want %q", name, got, w)
		}
	}
	audience, isList := want["aud"].([]any)
	if !isList {
		audience = []any{want["aud"]}
	}
	if len(audience) != len(token.Audience) || audience[0] != any(token.Audience[0]) {
		t.Fatalf("aud is %q, want %v", token.Audience, audience)
	}
	if token.SenderConstrained() != (want["cnf"] != nil) {
		t.Fatalf("SenderConstrained() = %v, cnf %v", token.SenderConstrained(), want["cnf"])
	}
	exp, err := want["exp"].(json.Number).Float64()
	if err != nil || token.ExpiresAt.Unix() != int64(exp) && exp < 1<<40 {
		t.Fatalf("exp is %v, want %v", token.ExpiresAt, want["exp"])
	}
}
