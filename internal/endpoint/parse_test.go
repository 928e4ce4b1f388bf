package endpoint

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// text is a parameter of each of the names and values.
func text(pairs ...string) oauth.Parameters {
	p := oauth.Parameters{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i]] = oauth.Parameter{Value: pairs[i+1]}
	}
	return p
}

type parseCase struct {
	body string
	want oauth.Parameters // nil: refused
	err  error
}

func testParser(t *testing.T, parse func(string) (oauth.Parameters, error), cases []parseCase) {
	t.Helper()
	for _, c := range cases {
		got, err := parse(c.body)
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%q: error %v, want %v", c.body, err, c.err)
		}
		if err == nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %+v, want %+v", c.body, got, c.want)
		}
	}
}

func TestStandardForm(t *testing.T) {
	t.Parallel()
	testParser(t, standardForm, []parseCase{
		{"", text(), nil},
		{"a=1&b=%26+%3D&&c", text("a", "1", "b", "& =", "c", ""), nil},
		{"a=1;b=2", text("a", "1;b=2"), nil},
		{"a=b=c", text("a", "b=c"), nil},
		{"a[]=1&a[b]=2", text("a[]", "1", "a[b]", "2"), nil},
		{"a=1&%61=2", nil, oauth.ErrParameterRepeated},
		{"=1&=2", nil, oauth.ErrParameterRepeated},
		{"a=%", nil, oauth.ErrBodyMalformed},
		{"a=%4", nil, oauth.ErrBodyMalformed},
		{"%zz=1", nil, oauth.ErrBodyMalformed},
		{"a=%ff", nil, oauth.ErrBodyMalformed},
		{"a=\xff", nil, oauth.ErrBodyMalformed},
	})
}

func TestOroForm(t *testing.T) {
	t.Parallel()
	invalid := oauth.Parameter{Invalid: true}
	testParser(t, oroForm, []parseCase{
		{"", text(), nil},
		{"a=1&b=%26+%3D&&c&=x", text("a", "1", "b", "& =", "c", ""), nil},
		{"a=%&b=%4&c=%zz&d=%ff", text("a", "%", "b", "%4", "c", "%zz", "d", "\xff"), nil},
		{"client.id=1&grant+type=2&%20%20x=3", text("client_id", "1", "grant_type", "2", "x", "3"), nil},
		{"pass%00word=1", text("pass", "1"), nil},
		{"a[=1&b[c.d=2", text("a_", "1", "b_c_d", "2"), nil},
		{"[]=1&[a]=2", text(), nil},
		{"a[]=1&a[]=2&a[k]=3", oauth.Parameters{"a": invalid}, nil},
		{"scope[]=a&scope%5B%5D=b+c", oauth.Parameters{"scope": {List: []string{"a", "b c"}}}, nil},
		{"scope[x]=a&scope[]=b", oauth.Parameters{"scope": {List: []string{"a", "b"}}}, nil},
		{"scope[]rest=a", oauth.Parameters{"scope": {List: []string{"a"}}}, nil},
		{"scope[0][]=a", oauth.Parameters{"scope": invalid}, nil},
		{"scope[]=a&scope[x][y]=b", oauth.Parameters{"scope": invalid}, nil},
		{"a=1&a=2", nil, oauth.ErrParameterRepeated},
		{"a.b=1&a_b=2", nil, oauth.ErrParameterRepeated},
		{"a=1&a[]=2", nil, oauth.ErrParameterRepeated},
		{"a[]=1&a=2", nil, oauth.ErrParameterRepeated},
		{"scope[k]=1&scope[k]=2", nil, oauth.ErrParameterRepeated},
	})
}

func TestStandardJSON(t *testing.T) {
	t.Parallel()
	many := `{"a":0`
	for i := range maxMembers - 1 {
		many += `,"b` + strings.Repeat("x", i) + `":0`
	}
	if _, err := standardJSON(many + "}"); err != nil {
		t.Errorf("64 members: %v", err)
	}
	testParser(t, standardJSON, []parseCase{
		{" {\t} \r\n", text(), nil},
		{`{"scope":"a","b":"\"\\\/\b\f\n\r\t\u00e9\ud83d\udd11é"}`, text("scope", "a", "b", "\"\\/\b\f\n\r\té🔑é"), nil},
		{`{"a":1,"b":[true,-0.5e+1],"c":{"d":null}}`, oauth.Parameters{"a": {Value: "1"}, "b": {}, "c": {}}, nil},
		{`{"Scope":1}`, text("Scope", "1"), nil},
		{`{"scope":1}`, nil, oauth.ErrParameterInvalid},
		{`{"scope":null}`, nil, oauth.ErrParameterInvalid},
		{`{"scope":["a"]}`, nil, oauth.ErrParameterInvalid},
		{`{"client_id":true}`, nil, oauth.ErrParameterInvalid},
		{`{"a":1,"\u0061":2}`, nil, oauth.ErrParameterRepeated},
		{`{"x":{"a":1,"a":2}}`, nil, oauth.ErrParameterRepeated},
		{many + `,"c":0}`, nil, oauth.ErrBodyMalformed},
		{`{"x":[[]]}`, nil, oauth.ErrBodyMalformed},
		{``, nil, oauth.ErrBodyMalformed},
		{`[]`, nil, oauth.ErrBodyMalformed},
		{`"a"`, nil, oauth.ErrBodyMalformed},
		{`null`, nil, oauth.ErrBodyMalformed},
		{`{} {}`, nil, oauth.ErrBodyMalformed},
		{"{}\x00", nil, oauth.ErrBodyMalformed},
		{"\xef\xbb\xbf{}", nil, oauth.ErrBodyMalformed},
		{`{"a":1,}`, nil, oauth.ErrBodyMalformed},
		{`{"a" 1}`, nil, oauth.ErrBodyMalformed},
		{`{a:1}`, nil, oauth.ErrBodyMalformed},
		{`{"a":1`, nil, oauth.ErrBodyMalformed},
		{`{"a":"`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\x"}`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\u12"}`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\u+123"}`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\ud800"}`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\ud800\u0041"}`, nil, oauth.ErrBodyMalformed},
		{`{"a":"\udc00\ud800"}`, nil, oauth.ErrBodyMalformed},
		{"{\"a\":\"\n\"}", nil, oauth.ErrBodyMalformed},
		{"{\"a\":\"\\n\n\"}", nil, oauth.ErrBodyMalformed},
		{"{\"a\":\"\xff\"}", nil, oauth.ErrBodyMalformed},
		{`{"a":01}`, nil, oauth.ErrBodyMalformed},
		{`{"a":-}`, nil, oauth.ErrBodyMalformed},
		{`{"a":1.}`, nil, oauth.ErrBodyMalformed},
		{`{"a":1e}`, nil, oauth.ErrBodyMalformed},
		{`{"a":.5}`, nil, oauth.ErrBodyMalformed},
		{`{"a":tru}`, nil, oauth.ErrBodyMalformed},
		{`{"a":nulll}`, nil, oauth.ErrBodyMalformed},
	})
}

func TestOroJSON(t *testing.T) {
	t.Parallel()
	invalid := oauth.Parameter{Invalid: true}
	testParser(t, oroJSON, []parseCase{
		{``, text(), nil},
		{`[]`, text(), nil},
		{`["a"]`, text(), nil},
		{`{"a":null}`, text(), nil},
		{`{"client_id":123}`, text("client_id", "123"), nil},
		{`{"client_id":123456789012345678901234567890}`, text("client_id", "123456789012345678901234567890"), nil},
		{`{"client_id":1.50}`, text("client_id", "1.5"), nil},
		{`{"client_id":1e2}`, text("client_id", "100"), nil},
		{`{"client_id":true}`, text("client_id", "1"), nil},
		{`{"client_id":false}`, text("client_id", ""), nil},
		{`{"client_id":[],"username":1,"password":{},"scope":5}`, oauth.Parameters{"client_id": invalid, "username": invalid, "password": invalid, "scope": invalid}, nil},
		{`{"scope":[]}`, oauth.Parameters{"scope": {List: []string{}}}, nil},
		{`{"scope":["a","","a"]}`, oauth.Parameters{"scope": {List: []string{"a", "", "a"}}}, nil},
		{`{"scope":[1,2.5]}`, oauth.Parameters{"scope": {List: []string{"1", "2.5"}, Numbers: true}}, nil},
		{`{"scope":[1,"a"]}`, oauth.Parameters{"scope": {List: []string{"1", "a"}}}, nil},
		{`{"scope":{"x":"a"}}`, oauth.Parameters{"scope": {List: []string{"a"}}}, nil},
		{`{"scope":[true]}`, oauth.Parameters{"scope": invalid}, nil},
		{`{"scope":[["a"]]}`, oauth.Parameters{"scope": invalid}, nil},
		{`{"a":1,"a":1}`, nil, oauth.ErrParameterRepeated},
		{`{"a":[[[]]]}`, nil, oauth.ErrBodyMalformed},
		{`   `, nil, oauth.ErrBodyMalformed},
		{`null`, nil, oauth.ErrBodyMalformed},
		{`1`, nil, oauth.ErrBodyMalformed},
	})
}

func TestRepeatedNamesOnlyWhatWeKnow(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"password": "password", "hunter2": ""} {
		var refusal *oauth.Refusal
		if err := repeated(name); !errors.As(err, &refusal) || refusal.Parameter != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	one := func(id, secret string) []oauth.BasicCredentials {
		return []oauth.BasicCredentials{{ID: id, Secret: oauth.Secret(secret)}}
	}
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		header        string
		standard, oro []oauth.BasicCredentials // nil: none; at the standard endpoint: refused
	}{
		{"Basic " + encode("id:secret"), one("id", "secret"), one("id", "secret")},
		{"bAsIc   " + encode("id:secret"), one("id", "secret"), one("id", "secret")},
		{"Basic " + encode("id:a:b"), one("id", "a:b"), one("id", "a:b")},
		{"Basic " + encode("id:"), one("id", ""), one("id", "")},
		{"Basic " + encode("i+d:%C3%A9"), append(one("i+d", "%C3%A9"), one("i d", "é")...), append(one("i+d", "%C3%A9"), one("i d", "é")...)},
		{"Basic " + encode("id:50%"), one("id", "50%"), one("id", "50%")},
		{"Basic " + encode("id"), nil, nil},
		{"Basic aWQ6c2VjcmV0", one("id", "secret"), one("id", "secret")},
		{"Basic aWQ6!c2VjcmV0", nil, one("id", "secret")},
		{"Basic aWQ6czE", nil, one("id", "s1")},  // without padding
		{"Basic aWQ6czF=", nil, one("id", "s1")}, // with bits left over
		{"Basic aWQ6c", nil, one("id", "")},      // with a remainder
		{"Basic", nil, nil},
		{"Basic !!!!", nil, nil},
		{"Bearer aWQ6c2VjcmV0", nil, nil},
	} {
		got, err := standardBasic(c.header)
		if !reflect.DeepEqual(got, c.standard) || errors.Is(err, oauth.ErrClientUnauthenticated) != (c.standard == nil) {
			t.Errorf("%q: %d readings, %v", c.header, len(got), err)
		}
		if got, err := oroBasic(c.header); !reflect.DeepEqual(got, c.oro) || err != nil {
			t.Errorf("%q at OroCommerce's: %d readings, %v", c.header, len(got), err)
		}
	}
	if got, err := standardBasic(""); got != nil || err != nil {
		t.Errorf("no header: %d readings, %v", len(got), err)
	}
}

func TestEscapeLikePHP(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`<x> "q" 's' & é`:  `&lt;x&gt; &quot;q&quot; &#039;s&#039; &amp; é`,
		`&lt; &amp; &#39;`: `&lt; &amp; &#39;`,
		`&nonsense; &lt &`: `&amp;nonsense; &amp;lt &amp;`,
		"\xff":             ``,
	} {
		if got := escapeLikePHP(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain":            `"plain"`,
		"a/\"\\\b\f\n\r\t": `"a\/\"\\\b\f\n\r\t"`,
		"é🔑\x01\x7f":       `"\u00e9\ud83d\udd11\u0001\u007f"`,
	} {
		if got := string(appendString(nil, text)); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzStandardForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a=%41+b", "a[]=1&a=2", "a=%", "a=1&a=2", ";=;&é=é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := standardForm(body)
		if err != nil {
			return
		}
		want, err := url.ParseQuery(strings.ReplaceAll(body, ";", "%3B")) // the library refuses ;
		if err != nil {
			t.Fatalf("%q: accepted, but %v", body, err)
		}
		for name, values := range want {
			if len(values) != 1 || got[name].Value != values[0] || len(got) != len(want) {
				t.Errorf("%q: %+v, want %v", body, got, want)
			}
		}
	})
}

func FuzzOroForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "a.b=%41+b", "scope[]=1&scope[x]=2", "a[0][]=%", "a=1&a=2", "[a]=1&b[=2", "%00=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := oroForm(body)
		if err != nil && !errors.Is(err, oauth.ErrParameterRepeated) {
			t.Errorf("%q: %v", body, err)
		}
		for name, p := range got {
			if name == "" || strings.ContainsAny(name, " .[\x00") || p.List != nil && name != "scope" {
				t.Errorf("%q: %q is %+v", body, name, p)
			}
		}
		if strict, refused := standardForm(body); err == nil && refused == nil && !strings.ContainsAny(body, "%+ .[\x00") {
			delete(strict, "")
			if !reflect.DeepEqual(got, strict) {
				t.Errorf("%q: %+v, want %+v", body, got, strict)
			}
		}
	})
}

func FuzzJSON(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"a":"\ud83d\udd11","b":[1,-0.5e3,true,false,null]}`, `{"a":1,"a":2}`, `[[[["a"]]]]`, `{"\u0061":"\`, "\xef\xbb\xbf{}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		v, err := parseJSON(body, oroDepth)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(strings.NewReader(body))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil || !utf8.ValidString(body) || !json.Valid([]byte(body)) {
			t.Fatalf("%q: accepted, but %v", body, err)
		}
		if got := v.any(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %v, want %v", body, got, want)
		}
	})
}

// any is the value as encoding/json has it.
func (v *jsonValue) any() any {
	switch v.kind {
	case jsonNull:
		return nil
	case jsonBool:
		return v.text == "true"
	case jsonNumber:
		return json.Number(v.text)
	case jsonString:
		return v.text
	case jsonList:
		list := make([]any, 0, len(v.items))
		for i := range v.items {
			list = append(list, v.items[i].any())
		}
		return list
	}
	object := map[string]any{}
	for i, name := range v.names {
		object[name] = v.items[i].any()
	}
	return object
}

func FuzzBasic(f *testing.F) {
	for _, seed := range []string{"", "Basic aWQ6c2VjcmV0", "basic  aWQ6", "Basic !!!!", "Basic aWQ6czE", "Bearer x", "Basic JTQxOiU0MQ=="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		standard, err := standardBasic(header)
		oro, _ := oroBasic(header)
		if err == nil && header != "" && !reflect.DeepEqual(standard, oro) {
			t.Errorf("%q: the dialects differ", header)
		}
		r := http.Request{Header: http.Header{"Authorization": {header}}}
		id, secret, ok := r.BasicAuth()
		if ok && oro != nil && standard != nil && (oro[0].ID != id || string(oro[0].Secret) != secret) {
			t.Errorf("%q: read differently from net/http", header)
		}
	})
}
