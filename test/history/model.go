package history

import (
	"fmt"
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

// longestWrite is more than any write takes that is not stuck. A server that
// answered 503 sooner than that left none behind that could still happen.
const longestWrite = 10 * time.Second

// grantState is the row of a grant and what it depends on, as docs/rotation.md has
// them; blocked and secret are the user's.
type grantState struct {
	exists, revoked, blocked bool
	secret                   int
	generation               uint32
	current, previous        string // names of the tokens; empty: never seen by anybody
}

// rules are the rotation decision (docs/rotation.md) as a sequential specification.
type rules struct{ strict bool }

// replay reports whether a token so many generations behind ends the grant.
func (r rules) replay(behind int64) bool { return behind > 2 || r.strict && behind > 0 }

// step returns the states in which a call may leave a grant; none: in that state
// the call cannot have had that answer.
func (r rules) step(s grantState, c *Call) []grantState {
	switch {
	case c.unknown():
		return r.perhaps(s, c)
	case c.Operation == List:
		return when(c.Row != nil && s.exists && c.Row.Generation == s.generation && (c.Row.Status == "revoked") == s.revoked, s)
	case c.Operation == Login:
		return when(c.Answer == OK && !s.exists && !s.blocked && c.Secret == s.secret && c.Delivered.Generation == 0,
			grantState{exists: true, secret: s.secret, current: c.Delivered.Name})
	case c.Operation == Refresh:
		return r.refresh(s, c)
	}
	return when(c.Answer == OK, administer(s, c))
}

// when returns a state if a condition holds, else none.
func when(condition bool, s grantState) []grantState {
	if !condition {
		return nil
	}
	return []grantState{s}
}

// perhaps is a call without an answer: nothing happened, or what happens to it in
// this state did.
func (r rules) perhaps(s grantState, c *Call) []grantState {
	after := s
	switch behind := int64(s.generation) - int64(c.Presented.Generation); {
	case c.Operation != Refresh:
		after = administer(s, c)
	case !s.exists || s.revoked || s.blocked:
	case behind == 0:
		after = rotate(s, c)
	case r.replay(behind):
		after.revoked = true
	}
	if after == s {
		return []grantState{s}
	}
	return []grantState{s, after}
}

// administer is what an administrator's act does.
func administer(s grantState, c *Call) grantState {
	switch c.Operation {
	case Revoke:
		s.revoked = true
	case Disable, Enable:
		s.blocked = c.Operation == Disable
	case Password:
		s.secret, s.revoked = c.Secret, s.exists
	}
	return s
}

// rotate is row R1. The successor's name is known if it was delivered.
func rotate(s grantState, c *Call) grantState {
	s.generation++
	s.previous, s.current = c.Presented.Name, c.Delivered.Name
	return s
}

// refresh is the table of docs/rotation.md for an answer that is known.
func (r rules) refresh(s grantState, c *Call) []grantState {
	behind := int64(s.generation) - int64(c.Presented.Generation)
	switch {
	case !s.exists || behind < 0:
		return nil
	case s.blocked: // P5
		return when(c.Answer == Blocked, s)
	case s.revoked: // P6
		return when(c.Answer == Refused, s)
	case r.replay(behind): // X1, X2
		s.revoked = true
		return when(c.Answer == Refused, s)
	case behind == 2: // X3
		return when(c.Answer == Refused, s)
	case behind == 1: // R2: the same successor
		known := s.current == "" || s.current == c.Delivered.Name
		s.current = c.Delivered.Name
		return when(c.Answer == OK && known && s.previous == c.Presented.Name && c.Delivered.Generation == s.generation, s)
	}
	fits := s.current == "" || s.current == c.Presented.Name // R1
	return when(c.Answer == OK && fits && c.Delivered.Generation == s.generation+1, rotate(s, c))
}

// linearizable checks one grant: it behaved as if each call had happened at one
// moment between its begin and its end, by the rules.
func (g *grantHistory) linearizable(timeout time.Duration) (porcupine.CheckResult, porcupine.LinearizationInfo) {
	return porcupine.CheckOperationsVerbose(g.rules.model(), g.operations(), timeout)
}

// model puts the rules into porcupine's form. A call is an operation's input.
func (r rules) model() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{grantState{}} },
		Step: func(state, input, _ any) []any {
			var next []any
			for _, s := range r.step(state.(grantState), input.(*Call)) {
				next = append(next, s)
			}
			return next
		},
		DescribeOperation: func(input, _ any) string { return describe(input.(*Call)) },
		DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
	}
	return m.ToModel()
}

// operations are the calls that concern the grant. One without an end, or given up
// after a time in which a write may have got stuck, may happen until the end.
func (g *grantHistory) operations() []porcupine.Operation {
	var operations []porcupine.Operation
	for _, c := range g.all {
		end := c.end()
		if c.Answer == Unavailable && end-c.Begin > int64(longestWrite) {
			end = math.MaxInt64
		}
		operations = append(operations, porcupine.Operation{ClientId: c.Process, Input: c, Call: c.Begin, Return: end})
	}
	return operations
}

// describe words a call for people.
func describe(c *Call) string {
	text := string(c.Operation)
	if c.Presented.Name != "" {
		text += " " + c.Presented.String()
	}
	text += " → " + string(c.Answer)
	if c.Delivered.Name != "" {
		text += " " + c.Delivered.String()
	}
	if c.Row != nil {
		text += fmt.Sprintf(" %s at generation %d", c.Row.Status, c.Row.Generation)
	}
	if c.Lost {
		text += " (lost)"
	}
	return text
}
