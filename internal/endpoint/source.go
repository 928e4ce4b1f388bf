package endpoint

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// source returns the address block of the caller, by which guessing is counted:
// /24 of IPv4 and /56 of IPv6, the least that one party usually gets. A peer
// without an address, as at a Unix socket, is "unknown".
func source(r *http.Request, trusted []netip.Prefix) string {
	peer, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return "unknown"
	}
	return block(clientAddress(peer, r.Header["X-Forwarded-For"], trusted))
}

// clientAddress walks X-Forwarded-For from its end, as far as each hop was told to
// us by somebody we trust. What is further left is anybody's claim.
func clientAddress(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	if len(forwarded) == 0 || !contains(trusted, peer) {
		return peer
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	client := peer
	for _, hop := range slices.Backward(hops) {
		address, ok := parseAddress(strings.TrimSpace(hop))
		if !ok {
			return peer
		}
		client = address
		if !contains(trusted, address) {
			break
		}
	}
	return client
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// parseAddress reads an address with or without a port.
func parseAddress(s string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(s); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	address, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return address.Unmap().WithZone(""), err == nil
}

func block(a netip.Addr) string {
	bits := 56
	if a.Is4() {
		bits = 24
	}
	prefix, _ := a.Prefix(bits) // fits: a is an address of that family
	return prefix.String()
}
