package main

import (
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/admin"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

func newGrantCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "grant", Short: "See and revoke grants: who is logged in with which client"}
	cmd.AddCommand(newGrantListCommand(), newGrantShowCommand(), newGrantRevokeCommand())
	return cmd
}

// addGrantFlags adds the flags that choose grants.
func addGrantFlags(cmd *cobra.Command, choice *admin.GrantChoice) {
	cmd.Flags().StringVar(&choice.Username, "user", "", "the grants of this user")
	cmd.Flags().StringVar(&choice.ClientID, "client", "", "the grants of this client")
}

// checkGrantFlags refuses an empty name, which would choose the grants of all.
func checkGrantFlags(cmd *cobra.Command) error {
	for _, name := range []string{"user", "client"} {
		if f := cmd.Flags().Lookup(name); f.Changed && f.Value.String() == "" {
			return usageError{errors.New("--" + name + " needs a name")}
		}
	}
	return nil
}

func newGrantListCommand() *cobra.Command {
	var choice admin.GrantChoice
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List grants, newest first",
		RunE: withInstallation(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			if err := checkGrantFlags(cmd); err != nil {
				return err
			}
			views, err := i.Operator.Grants(cmd.Context(), choice)
			if err != nil {
				return err
			}
			records := make([]record, len(views))
			for n := range views {
				records[n] = newGrantRecord(&views[n])
			}
			return p.list(grantRecord{}, records)
		}),
	}
	addGrantFlags(cmd, &choice)
	cmd.Flags().IntVar(&choice.Limit, "limit", 0, "at most so many; 0: all")
	addOutputFlag(cmd)
	return cmd
}

func newGrantShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a grant, by the grant_id of its access tokens",
		Args:  cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			v, err := i.Operator.Grant(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.one(newGrantRecord(&v))
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newGrantRevokeCommand() *cobra.Command {
	var choice admin.GrantChoice
	cmd := &cobra.Command{
		Use:   "revoke ID | revoke --user USERNAME | revoke --client ID",
		Short: "End grants, and all their tokens, at once and for good",
		Args:  cobra.MaximumNArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			if err := checkGrantFlags(cmd); err != nil {
				return err
			}
			if len(args) == 1 {
				choice.GrantID = args[0]
			}
			if choice.GrantID != "" && (choice.Username != "" || choice.ClientID != "") {
				return usageError{errors.New("name one grant, or else a user or a client")}
			}
			n, err := i.Operator.RevokeGrants(cmd.Context(), choice)
			if err != nil {
				return err
			}
			return p.one(revokedRecord{n})
		}),
	}
	addGrantFlags(cmd, &choice)
	addOutputFlag(cmd)
	return cmd
}

// revokedRecord says how many grants were active until they were revoked.
type revokedRecord struct {
	Revoked int `json:"revoked"`
}

func (r revokedRecord) fields() []field {
	return []field{{name: "revoked", text: strconv.Itoa(r.Revoked)}}
}

// grantRecord is a grant as it is printed.
type grantRecord struct {
	GrantID           string    `json:"grant_id"`
	Status            string    `json:"status"` // active, expired or revoked
	Subject           string    `json:"subject"`
	Username          string    `json:"username"` // empty: the user is gone
	ClientID          string    `json:"client_id"`
	Scope             string    `json:"scope"`
	Resource          []string  `json:"resource"`
	Generation        uint32    `json:"generation"`
	Retries           int       `json:"retries"`
	CreatedAt         timestamp `json:"created_at"`
	LastUsedAt        timestamp `json:"last_used_at"`
	ExpiresAt         timestamp `json:"expires_at"`
	AbsoluteExpiresAt timestamp `json:"absolute_expires_at"`
	RevokedAt         timestamp `json:"revoked_at"`
	RevokedReason     *string   `json:"revoked_reason"`

	revokedReason string // for people
}

func newGrantRecord(v *oauth.GrantView) grantRecord {
	g := &v.Grant
	return grantRecord{
		GrantID: g.PublicID, Status: string(admin.StateOf(v)), Subject: g.Subject, Username: v.Username(), ClientID: g.ClientID,
		Scope: g.Scope.String(), Resource: append([]string{}, g.Resource...), Generation: g.Generation, Retries: g.Retries,
		CreatedAt: timestamp(g.CreatedAt), LastUsedAt: timestamp(g.LastUsedAt),
		ExpiresAt: timestamp(admin.ExpiresAt(v)), AbsoluteExpiresAt: timestamp(g.AbsoluteExpiresAt),
		RevokedAt: timestamp(g.RevokedAt), RevokedReason: optional(g.RevokedReason), revokedReason: g.RevokedReason,
	}
}

func (r grantRecord) fields() []field {
	return []field{
		{name: "grant_id", text: r.GrantID, column: "grant id"},
		{name: "status", text: r.Status, column: "status"},
		{name: "username", text: r.Username, column: "username"},
		{name: "subject", text: r.Subject},
		{name: "client_id", text: r.ClientID, column: "client id"},
		{name: "scope", text: r.Scope},
		{name: "generation", text: strconv.FormatUint(uint64(r.Generation), 10), column: "generation"},
		{name: "retries", text: strconv.Itoa(r.Retries)},
		{name: "created_at", text: r.CreatedAt.String()},
		{name: "last_used_at", text: r.LastUsedAt.String(), column: "last used at"},
		{name: "expires_at", text: r.ExpiresAt.String(), column: "expires at"},
		{name: "absolute_expires_at", text: r.AbsoluteExpiresAt.String()},
		{name: "revoked_at", text: r.RevokedAt.String()},
		{name: "revoked_reason", text: r.revokedReason},
	}
}
