package oauth

// VisitorID is the Subject.ID that the grants of all visitors have. It exists in every
// store from the start, has no password, and is listed nowhere. A visitor's identity is
// the grant itself: it stays the same through all refreshes and ends with it.
const VisitorID = "visitor"

// visitorName and visitorPassword are what OroCommerce's clients send for a visitor.
const (
	visitorName     = "guest"
	visitorPassword = "guest"
)

// Username is the name of a grant's subject, as OroCommerce has it: a visitor's is made
// of the grant. Empty: the subject is gone.
func (v *GrantView) Username() string { return v.Grant.name(&v.Subject) }

// name is the subject's name in an access token of OroCommerce's profile.
func (g *Grant) name(subject *Subject) string {
	if g.Subject == VisitorID {
		return "visitor:" + g.PublicID
	}
	return subject.Username
}

// subject is the subject's name in an access token of the standard profile.
func (g *Grant) subject() string {
	if g.Subject == VisitorID {
		return "visitor:" + g.PublicID
	}
	return g.Subject
}

// forVisitor reports whether a password request is one for a visitor.
func (s *Server) forVisitor(r *request, username, password Secret) bool {
	return s.Settings.Visitors && r.client.Storefront && r.Profile == OroCommerce && username == visitorName && password == visitorPassword
}
