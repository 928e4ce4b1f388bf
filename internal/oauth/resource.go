package oauth

import (
	"context"
	"errors"
	"slices"
)

// maxResources bounds the work that one request can ask for.
const maxResources = 8

// resources returns the resources that an access token is asked for (RFC 8707 section
// 2), each once; nil: nothing was said. OroCommerce knows none.
func (all Parameters) resources(profile Profile) ([]string, error) {
	p, given := all["resource"]
	switch {
	case !given || profile == OroCommerce:
		return nil, nil
	case p.Invalid:
		return nil, ErrParameterInvalid.About("resource")
	case len(p.List) == 0 && p.Value == "": // RFC 6749 section 3.1: without a value is omitted
		return nil, nil
	case p.List == nil:
		return []string{p.Value}, nil
	case len(p.List) > maxResources:
		return nil, ErrTargetInvalid.Because(errors.New("too many resources"))
	}
	if named := dedupe(slices.DeleteFunc(slices.Clone(p.List), isEmpty)); len(named) > 0 {
		return named, nil
	}
	return nil, nil
}

// knownResources returns the resources that a new grant is asked for. A resource is this
// server itself, named by its issuer, or a resource server that is registered here as a
// confidential client, named by its client_id: who is named may introspect the token.
func (s *Server) knownResources(ctx context.Context, all Parameters, profile Profile) ([]string, error) {
	asked, err := all.resources(profile)
	if err != nil {
		return nil, err
	}
	for _, resource := range asked {
		if resource == s.Settings.Issuer {
			continue
		}
		client, err := s.Store.Client(ctx, resource)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, ErrTargetInvalid.About(resource)
		case err != nil:
			return nil, err
		case client.Public || client.outOfOrder() != nil:
			return nil, ErrTargetInvalid.About(resource)
		}
	}
	return asked, nil
}

// accessResource returns the resources of an access token: those of its grant, or those
// of them that were asked for (RFC 8707 section 2.2).
func accessResource(asked, granted []string) ([]string, error) {
	for _, r := range asked {
		if !slices.Contains(granted, r) {
			return nil, ErrTargetInvalid.About(r)
		}
	}
	if len(asked) == 0 {
		return granted, nil
	}
	return asked, nil
}
