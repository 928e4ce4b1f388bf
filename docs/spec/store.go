package spec

// apply is one write of the store, atomic and durable. It returns false for
// ErrConflict; then nothing was written.
func (m *Model) apply(s *State, w *Write) bool {
	switch w.Kind {
	case Create:
		return m.createGrant(s, w)
	case Rotate, Reuse, Sibling:
		return m.swapGrant(s, w)
	case Retry:
		return m.retryGrant(s, w)
	}
	return m.revokeGrant(s, w)
}

// createGrant inserts, if the subject's epoch and state and the client's version are
// still those read before the password was hashed.
func (m *Model) createGrant(s *State, w *Write) bool {
	inOrder := w.Epoch == s.Subject.Epoch && w.ClientVersion == s.Client.Version &&
		(!s.Subject.Blocked || m.Broken.CreateIgnoresState)
	if s.Grant.Exists || !inOrder {
		return false
	}
	s.Grant = Grant{Exists: true, Active: true, Version: 1, Current: w.Current, Epoch: w.Epoch}
	return true
}

// swapGrant replaces the row if it is as it was decided upon (R1, R3).
func (m *Model) swapGrant(s *State, w *Write) bool {
	if !m.asDecidedUpon(s, w) {
		return false
	}
	grant := &s.Grant
	grant.Version++
	grant.Current = w.Current
	if w.Kind == Rotate {
		grant.Generation, grant.Previous, grant.Retries = w.Generation, w.Previous, 0
		grant.RetryWindow, grant.LateWindow = m.newWindows()
		m.assumeFewRotations(s)
		if m.NoRetryWindow {
			m.assumeWithinRetryWindow(s)
		}
	}
	return true
}

// retryGrant counts one more retry under the same conditions and where budget is left.
// The version stays.
func (m *Model) retryGrant(s *State, w *Write) bool {
	grant := &s.Grant
	fits := m.asDecidedUpon(s, w)
	if m.Broken.RetryIgnoresVersion {
		fits = grant.Active && grant.Epoch == s.Subject.Epoch && !s.Subject.Blocked && w.ClientVersion == s.Client.Version
	}
	if m.Broken.RetryComparesRowOnly {
		fits = grant.Active && grant.Version == w.Version
	}
	if !fits || grant.Retries >= m.Budget {
		return false
	}
	grant.Retries++
	return true
}

// asDecidedUpon is the condition of SwapGrant and RetryGrant: version unchanged, status
// active, the subject's epoch and state and the client's version as decided upon.
func (m *Model) asDecidedUpon(s *State, w *Write) bool {
	grant := &s.Grant
	return grant.Active &&
		(grant.Version == w.Version || m.Broken.NoCompareAndSwap) &&
		(grant.Epoch == s.Subject.Epoch || m.Broken.SwapIgnoresEpoch) &&
		(!s.Subject.Blocked || m.Broken.SwapIgnoresState) &&
		(w.ClientVersion == s.Client.Version || m.Broken.SwapIgnoresClient)
}

// revokeGrant sets the status to revoked where it is active, whatever the generation.
// It cannot conflict.
func (m *Model) revokeGrant(s *State, w *Write) bool {
	grant := &s.Grant
	if m.Broken.RevocationConflicts && grant.Version != w.Version {
		return false
	}
	if grant.Active {
		grant.Active = false
		grant.Version++
	}
	return true
}
