package history

// The promises are checked here directly, by what was delivered and when, without a
// model and without a search. In doubt a call is believed: what is found is wrong for sure.

// promises returns which invariants of docs/rotation.md the grant's history breaks.
func (g *grantHistory) promises() []Violation {
	found := g.oneSuccessor()
	found = append(found, g.durable()...)
	for _, c := range g.refreshes {
		switch c.Answer {
		case OK:
			found = append(found, g.deadStaysDead(c)...)
		case Refused:
			if !g.mayBeRefused(c) {
				found = append(found, g.violation("I7", "refused without a reason: %s", describe(c)))
			}
		case Blocked:
			if !g.mayBeBlocked(c) {
				found = append(found, g.violation("I7", "blocked without a reason: %s", describe(c)))
			}
		case Unavailable, None:
		default:
			found = append(found, g.violation("I7", "an answer that nobody expected: %s", describe(c)))
		}
	}
	return found
}

// oneSuccessor is I1 and I3: of each generation there is one token, and whoever
// presents a token gets the same successor.
func (g *grantHistory) oneSuccessor() []Violation {
	var found []Violation
	name := map[uint32]string{0: g.login.Delivered.Name}
	for _, c := range g.refreshes {
		if c.Answer != OK {
			continue
		}
		d := c.Delivered
		if d.Generation != c.Presented.Generation+1 {
			found = append(found, g.violation("I1", "not the successor: %s", describe(c)))
		}
		if known, seen := name[d.Generation]; seen && known != d.Name {
			found = append(found, g.violation("I1", "two tokens of generation %d: %s and %s", d.Generation, known, d.Name))
		}
		name[d.Generation] = d.Name
	}
	return found
}

// namesRepeated is I1 beyond one grant: no two have a token in common.
func namesRepeated(h *History) []Violation {
	var found []Violation
	owner := map[string]int{}
	for i := range h.Calls {
		c := &h.Calls[i]
		if c.Delivered.Name == "" || c.Grant == 0 {
			continue
		}
		if other, seen := owner[c.Delivered.Name]; seen && other != c.Grant {
			found = append(found, Violation{Grant: c.Grant, Promise: "I1", Text: "has a token of another grant: " + describe(c)})
		}
		owner[c.Delivered.Name] = c.Grant
	}
	return found
}

// durable is I2 by the database: its generation is at least the newest that was
// delivered before, and at most what was asked for.
func (g *grantHistory) durable() []Violation {
	var found []Violation
	for _, row := range g.rows {
		if row.Row == nil {
			found = append(found, g.violation("I2", "the grant has no row"))
			continue
		}
		var least, most uint32
		for _, c := range g.refreshes {
			if c.Answer == OK && c.end() < row.Begin {
				least = max(least, c.Delivered.Generation)
			}
			if c.Begin < row.end() {
				most = max(most, c.Presented.Generation+1)
			}
		}
		if n := row.Row.Generation; n < least || n > most {
			found = append(found, g.violation("I2", "the database says generation %d, not %d to %d", n, least, most))
		}
		if row.Row.Status != "active" && !g.mayHaveEnded(row) {
			found = append(found, g.violation("I7", "the database says %s without a reason", row.Row.Status))
		}
	}
	return found
}

// deadStaysDead is I5 and I6: nothing succeeds that began after an end, or after the
// refusal of a replay, was acknowledged, nor while the user was known to be disabled.
func (g *grantHistory) deadStaysDead(c *Call) []Violation {
	for _, end := range g.ends {
		hits := end.Operation != Password || end.Begin > g.login.end() // else the grant may be the younger one
		if end.Answer == OK && end.end() < c.Begin && hits {
			return []Violation{g.violation("I6", "succeeded after %s: %s", end.Operation, describe(c))}
		}
	}
	for _, act := range g.acts {
		if act.Operation == Disable && act.Answer == OK && act.end() < c.Begin && !g.mayBeEnabled(act, c) {
			return []Violation{g.violation("I6", "succeeded while the user was disabled: %s", describe(c))}
		}
	}
	for _, r := range g.refreshes {
		if r.Answer == Refused && r.end() < c.Begin && g.rules.replay(g.surelyBehind(r)) {
			return []Violation{g.violation("I5", "succeeded after the replay %q: %s", describe(r), describe(c))}
		}
	}
	return nil
}

// surelyBehind is by how many generations a presented token was too old, at least.
func (g *grantHistory) surelyBehind(r *Call) int64 {
	behind := int64(0)
	for _, c := range g.refreshes {
		if c.Answer == OK && c.end() < r.Begin {
			behind = max(behind, int64(c.Delivered.Generation)-int64(r.Presented.Generation))
		}
	}
	return behind
}

// mayBeEnabled reports whether the user may be enabled between a disabling and the end of a call.
func (g *grantHistory) mayBeEnabled(disabled, c *Call) bool {
	for _, act := range g.acts {
		if act.Operation == Enable && act.end() > disabled.Begin && act.Begin < c.end() {
			return true
		}
	}
	return false
}

// mayBeRefused is the other side of I7: there is a reason to refuse. The grant may
// be over, or somebody presented the successor already, whose time begins with that.
func (g *grantHistory) mayBeRefused(c *Call) bool {
	for _, other := range g.refreshes {
		if other.Presented.Generation > c.Presented.Generation && other.Begin < c.end() && other.maySucceed() {
			return true
		}
	}
	return g.mayHaveEnded(c)
}

// mayHaveEnded reports whether an administrator or a replay may have ended the grant
// before a call was over.
func (g *grantHistory) mayHaveEnded(c *Call) bool {
	for _, end := range g.ends {
		if end.Begin < c.end() {
			return true
		}
	}
	for _, late := range g.refreshes {
		if late.Begin < c.end() && (late.Answer == Refused || late.unknown()) && g.mayBeReplay(late, c) {
			return true
		}
	}
	return false
}

// mayBeReplay reports whether a token may have come too late: while its call was
// under way, or before, its successors were presented, so that it was a replay.
func (g *grantHistory) mayBeReplay(late, c *Call) bool {
	for _, other := range g.refreshes {
		after := int64(other.Presented.Generation) + 1 // the generation that other may have made
		before := other != late && other.maySucceed() && other.Begin < min(c.end(), late.end())
		if before && g.rules.replay(after-int64(late.Presented.Generation)) {
			return true
		}
	}
	return false
}

// mayBeBlocked reports whether the user may have been disabled during a call.
func (g *grantHistory) mayBeBlocked(c *Call) bool {
	for _, act := range g.acts {
		if act.Operation == Disable && act.Begin < c.end() && !g.surelyEnabled(act, c) {
			return true
		}
	}
	return false
}

// surelyEnabled reports whether a disabling was undone before a call began.
func (g *grantHistory) surelyEnabled(disabled, c *Call) bool {
	for _, act := range g.acts {
		if act.Operation == Enable && act.Answer == OK && act.Begin > disabled.end() && act.end() < c.Begin {
			return true
		}
	}
	return false
}
