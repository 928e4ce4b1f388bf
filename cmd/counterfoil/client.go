package main

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

func newClientCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "client", Short: "Register and change clients"}
	cmd.AddCommand(
		newClientCreateCommand(), newClientListCommand(), newClientShowCommand(), newClientUpdateCommand(),
		newClientActivateCommand(), newClientDeactivateCommand(), newClientRotateSecretCommand(), newClientDeleteCommand(), newClientImportCommand(),
	)
	return cmd
}

func newClientCreateCommand() *cobra.Command {
	var flags clientFlags
	var id, secretFile string
	var public bool
	cmd := &cobra.Command{
		Use:   "create --name NAME --grant-type TYPE",
		Short: "Register a client and show its secret, this once",
		Example: `  counterfoil client create --name Shop --grant-type password
  counterfoil client create --name App --public --grant-type authorization_code --redirect-uri https://app.example.com/cb`,
		RunE: withInstallation(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			c := oauth.Client{ID: id, Public: public}
			flags.apply(cmd, &c)
			chosen, err := chosenSecret(cmd, i, p, secretFile, c.ID, c.Name)
			if err != nil {
				return err
			}
			c, secret, err := i.Operator.CreateClient(cmd.Context(), c, chosen)
			if err != nil {
				return err
			}
			warnAboutClient(p, &c)
			if err := warnAboutName(cmd, i, p, c); err != nil {
				return err
			}
			return printClient(cmd, i, p, c, secret)
		}),
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&id, "id", "", "client_id; generated where it is not given")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file whose first line is the secret, - for standard input; else one is generated")
	cmd.Flags().BoolVar(&public, "public", false, "the client cannot keep a secret and has none (RFC 6749 section 2.1)")
	addOutputFlag(cmd)
	return cmd
}

func newClientListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all clients",
		RunE: withInstallation(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			clients, err := i.Operator.Clients(cmd.Context())
			if err != nil {
				return err
			}
			owners, err := i.Operator.Owners(cmd.Context(), clients...)
			if err != nil {
				return err
			}
			records := make([]record, len(clients))
			for n := range clients {
				records[n] = newClientRecord(clients[n], owners)
			}
			return p.list(clientRecord{}, records)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newClientShowCommand() *cobra.Command {
	return newClientAct("show", "Show a client", func(cmd *cobra.Command, i *installation, _ *printer, id string) (oauth.Client, error) {
		return i.Operator.Client(cmd.Context(), id)
	})
}

func newClientUpdateCommand() *cobra.Command {
	var flags clientFlags
	cmd := newClientAct("update", "Change what is given, and nothing else", func(cmd *cobra.Command, i *installation, p *printer, id string) (oauth.Client, error) {
		if err := flags.check(cmd); err != nil {
			return oauth.Client{}, err
		}
		c, err := i.Operator.UpdateClient(cmd.Context(), id, func(c *oauth.Client) { flags.apply(cmd, c) })
		if err == nil && slices.ContainsFunc(nameFlags, cmd.Flags().Changed) {
			err = warnAboutName(cmd, i, p, c)
		}
		return c, err
	})
	cmd.Long = `Change what is given, and nothing else. A list that is given replaces the old one.

A lifetime of 0 is the server's, an empty --owner or --signing-alg is none;
--scope "" is an empty list, --no-scope no list, --no-api all APIs, and
--no-retry-window the server's.`
	flags.add(cmd)
	flags.addRemovals(cmd)
	return cmd
}

func newClientActivateCommand() *cobra.Command {
	return newClientAct("activate", "Let a client authenticate again", func(cmd *cobra.Command, i *installation, _ *printer, id string) (oauth.Client, error) {
		return i.Operator.ActivateClient(cmd.Context(), id)
	})
}

func newClientDeactivateCommand() *cobra.Command {
	return newClientAct("deactivate", "Stop a client, and its tokens with it, until it is activated", func(cmd *cobra.Command, i *installation, _ *printer, id string) (oauth.Client, error) {
		return i.Operator.DeactivateClient(cmd.Context(), id)
	})
}

// newClientAct is a command that does something with one client and prints it.
func newClientAct(name, short string, act func(cmd *cobra.Command, i *installation, p *printer, id string) (oauth.Client, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Args:  cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			c, err := act(cmd, i, p, args[0])
			if err != nil {
				return err
			}
			return printClient(cmd, i, p, c, "")
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newClientRotateSecretCommand() *cobra.Command {
	var overlap durationFlag
	var secretFile string
	cmd := &cobra.Command{
		Use:   "rotate-secret ID",
		Short: "Give a client a new secret and show it, this once",
		Long: `Give a client a new secret and show it, this once.

The old secret ends at once, or after the overlap, so that the client can be
given the new one meanwhile.`,
		Args: cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			chosen, err := chosenSecret(cmd, i, p, secretFile, args[0])
			if err != nil {
				return err
			}
			c, secret, err := i.Operator.RotateClientSecret(cmd.Context(), args[0], chosen, time.Duration(overlap))
			if err != nil {
				return err
			}
			return printClient(cmd, i, p, c, secret)
		}),
	}
	cmd.Flags().Var(&overlap, "overlap", "how long the old secret works beside the new one (default 0)")
	cmd.Flags().StringVar(&secretFile, "secret-file", "", "file whose first line is the secret, - for standard input; else one is generated")
	addOutputFlag(cmd)
	return cmd
}

// chosenSecret reads the secret that somebody chose, if one is named.
func chosenSecret(cmd *cobra.Command, i *installation, p *printer, file string, about ...string) (oauth.Secret, error) {
	if !cmd.Flags().Changed("secret-file") {
		return "", nil
	}
	if file == "" {
		return "", usageError{errors.New("--secret-file needs a file, or - for standard input")}
	}
	chosen, err := readSecret(cmd, "client secret", "secret-file", file)
	if err != nil {
		return "", err
	}
	if why := i.Operator.Weak(chosen, about...); why != "" {
		p.warning("the client secret is weak. %s", why)
	}
	return chosen, nil
}

func newClientDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Remove a client and end its grants",
		Args:  cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			ended, err := i.Operator.DeleteClient(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.one(deletedRecord{ClientID: args[0], Deleted: true, GrantsEnded: ended})
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

// deletedRecord says what is gone.
type deletedRecord struct {
	ClientID    string `json:"client_id,omitempty"`
	Username    string `json:"username,omitempty"`
	Deleted     bool   `json:"deleted"`
	GrantsEnded int    `json:"grants_ended"`
}

func (r deletedRecord) fields() []field {
	name := field{name: "client_id", text: r.ClientID}
	if r.Username != "" {
		name = field{name: "username", text: r.Username}
	}
	return []field{name, {name: "deleted", text: yesNo(r.Deleted)}, {name: "grants_ended", text: strconv.Itoa(r.GrantsEnded)}}
}

// printClient prints a client, with a secret that was just made.
func printClient(cmd *cobra.Command, i *installation, p *printer, c oauth.Client, secret oauth.Secret) error {
	owners, err := i.Operator.Owners(cmd.Context(), c)
	if err != nil {
		return err
	}
	r := newClientRecord(c, owners)
	if secret != "" {
		r.ClientSecret = string(secret)
		p.remark("The client secret is shown this once: keep it now.")
	}
	return p.one(r)
}
