package oauth

import (
	"errors"
	"slices"
	"strings"
)

// Scope is a list of scope tokens (RFC 6749 section 3.3). nil means that nothing
// was said, an empty list that nothing is wanted.
type Scope []string

// maxScopeTokens bounds the work that a scope parameter can ask for.
const maxScopeTokens = 256

// ParseScope splits a scope parameter at its spaces and drops repetitions. It
// never returns nil.
func ParseScope(s string) Scope { return dedupe(splitScope(s)) }

func splitScope(s string) []string { return slices.DeleteFunc(strings.Split(s, " "), isEmpty) }

func isEmpty(t string) bool { return t == "" }

func dedupe(list []string) Scope {
	scope := make(Scope, 0, len(list))
	for _, t := range list {
		if !slices.Contains(scope, t) {
			scope = append(scope, t)
		}
	}
	return scope
}

// boundedScope drops repetitions from what a request asks for, unless that is too much.
func boundedScope(list []string) (Scope, error) {
	if len(list) > maxScopeTokens {
		return nil, ErrScopeInvalid.Because(errors.New("too many tokens"))
	}
	return dedupe(list), nil
}

// String joins the tokens with spaces, as on the wire.
func (s Scope) String() string { return strings.Join(s, " ") }

// Valid reports whether every token has the characters of RFC 6749 section 3.3.
func (s Scope) Valid() bool {
	return !slices.ContainsFunc(s, func(t string) bool {
		return t == "" || strings.ContainsFunc(t, func(r rune) bool {
			return r != 0x21 && (r < 0x23 || r > 0x5B) && (r < 0x5D || r > 0x7E)
		})
	})
}

// outside returns the first token of s that is not in the list.
func (s Scope) outside(list Scope) (string, bool) {
	for _, t := range s {
		if !slices.Contains(list, t) {
			return t, true
		}
	}
	return "", false
}

// within returns the tokens of s that are in the list.
func (s Scope) within(list Scope) Scope {
	kept := make(Scope, 0, len(s))
	for _, t := range s {
		if slices.Contains(list, t) {
			kept = append(kept, t)
		}
	}
	return kept
}

// without returns the tokens of s that are not in the list.
func (s Scope) without(list []string) Scope {
	if len(list) == 0 {
		return s
	}
	return slices.DeleteFunc(slices.Clone(s), func(t string) bool { return slices.Contains(list, t) })
}

// accessScope returns the scope of an access token made by a refresh. Asking for
// less narrows this access token and never the grant (RFC 6749 section 6). The
// client's list may have been shortened since the grant was made: what was not
// asked for by name is silently left out then.
func accessScope(asked, granted Scope, p Policy) (Scope, error) {
	if asked == nil {
		// An empty token can only come from a JSON list; OroCommerce drops it here.
		granted = slices.DeleteFunc(slices.Clone(granted), isEmpty)
		if p.AnyScope {
			return granted, nil
		}
		return granted.within(p.Scope), nil
	}
	if p.NoScope {
		return Scope{}, nil
	}
	asked = asked.without(p.APIs) // they are in every access token
	if t, found := asked.outside(granted); found {
		return nil, ErrScopeInvalid.About(t)
	}
	return requestedScope(asked, p)
}

// withAPIs adds the APIs that a client is limited to: what an API checks, whatever was
// asked for.
func (p *Policy) withAPIs(s Scope) Scope {
	if len(p.APIs) == 0 {
		return s
	}
	return dedupe(slices.Concat(s, p.APIs))
}

// requestedScope checks a scope that was asked for by name against the client's list.
func requestedScope(asked Scope, p Policy) (Scope, error) {
	if p.NoScope {
		return Scope{}, nil
	}
	asked = asked.without(p.APIs)
	if p.AnyScope {
		return asked, nil
	}
	if t, found := asked.outside(p.Scope); found {
		return nil, ErrScopeInvalid.About(t)
	}
	return asked, nil
}
