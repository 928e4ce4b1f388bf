package bench

import "slices"

// settle finds out what several different successors of one refresh token are: a fork,
// if two of them live, or siblings of which at most one does. It returns what the
// client goes on with; empty: nothing lives.
//
// To ask whether a refresh token lives is to use it, and that may kill: a server that
// knows one successor to be dead takes its use for a replay and revokes the whole
// session. So the order matters. The client's own successor comes first: to use it is
// what the client would do anyway, and if that is refused, the client is logged out in
// earnest. Then the others follow, newest first; each is fresh and was never used, so
// that no server can call it a replay, unless it knows that only one of them may count.
//
// The first branch is taken two steps on before the second is tried. A server may
// write one and the same successor in two ways (an encrypted token, sealed anew for
// every answer); then the second spelling is old by now, and refused. And after the
// second branch has moved, the first must still go on: else there is one session that
// changed hands, and no fork. What passes is two sessions from one, whose owners need
// never learn of each other.
func (s *session) settle(own string) (live string) {
	undecided := false
	for _, successor := range s.branches(own) {
		newest, last := s.follow(successor, 2)
		end := last.outcome()
		if end == refused && successor == own {
			s.recorder.violation(LostSession, &last)
		}
		undecided = undecided || end == failed
		if end != granted {
			continue
		}
		if live != "" {
			_, last := s.follow(live, 1)
			if last.outcome() == granted {
				s.recorder.violation(Fork, &last)
				return newest
			}
			undecided = undecided || last.outcome() == failed
		}
		live = newest
	}
	s.recorder.siblings(undecided)
	return s.survivor(live)
}

// survivor is the branch that lives, if it still does: the bench itself may have had it
// revoked, by trying a dead one. Then the client logs in, and nothing is held against
// the server.
func (s *session) survivor(live string) string {
	if live == "" {
		return ""
	}
	newest, last := s.follow(live, 1)
	if last.outcome() != granted {
		return ""
	}
	return newest
}

// branches are the successors in the order in which they are tried.
func (s *session) branches(own string) []string {
	order := []string{own}
	for _, successor := range slices.Backward(s.use.successors) {
		if successor != own {
			order = append(order, successor)
		}
	}
	return order
}

// follow refreshes step by step. It returns the newest refresh token and the answer
// that says how far it came.
func (s *session) follow(token string, steps int) (newest string, last answer) {
	for range steps {
		last = s.probe(token)
		if last.outcome() != granted {
			return token, last
		}
		if last.refreshToken != "" {
			token = last.refreshToken
		}
	}
	return token, last
}

// probe uses a refresh token once, and again while the server has no answer.
func (s *session) probe(token string) answer {
	const attempts = 4
	request := s.requests.refresh(token)
	s.failures = 0
	for range attempts {
		a := s.conns[0].ask(request)
		s.recorder.probe()
		if a.outcome() != failed {
			return a
		}
		s.pause(s.cut, &a)
	}
	return answer{malformed: true}
}
