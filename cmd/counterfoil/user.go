package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

func newUserCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "user", Short: "Keep the local users"}
	cmd.AddCommand(
		newUserCreateCommand(), newUserListCommand(), newUserShowCommand(), newUserEnableCommand(), newUserDisableCommand(),
		newUserSetStateCommand(), newUserSetPasswordCommand(), newUserDeleteCommand(), newUserImportCommand(),
	)
	return cmd
}

func newUserCreateCommand() *cobra.Command {
	var email string
	var input passwordInput
	cmd := newUserAct("create USERNAME", "Add a user", 1, func(cmd *cobra.Command, args []string, i *installation, p *printer) (oauth.User, error) {
		password, err := input.read(cmd, i, p, args[0], email)
		if err != nil {
			return oauth.User{}, err
		}
		return i.Operator.CreateUser(cmd.Context(), args[0], email, password)
	})
	cmd.Long = "Add a user. The password is asked for, or comes from --password-file."
	cmd.Flags().StringVar(&email, "email", "", "e-mail address, which works as a login name too")
	input.add(cmd)
	return cmd
}

func newUserListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List all users",
		RunE: withInstallation(func(cmd *cobra.Command, _ []string, i *installation, p *printer) error {
			users, err := i.Operator.Users(cmd.Context())
			if err != nil {
				return err
			}
			records := make([]record, len(users))
			for n := range users {
				records[n] = newUserRecord(&users[n])
			}
			return p.list(userRecord{}, records)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newUserShowCommand() *cobra.Command {
	return newUserAct("show USERNAME", "Show a user", 1, func(cmd *cobra.Command, args []string, i *installation, _ *printer) (oauth.User, error) {
		return i.Operator.User(cmd.Context(), args[0])
	})
}

func newUserEnableCommand() *cobra.Command {
	return newUserAct("enable USERNAME", "Let a user log in, and the user's tokens work again", 1, func(cmd *cobra.Command, args []string, i *installation, _ *printer) (oauth.User, error) {
		return i.Operator.EnableUser(cmd.Context(), args[0])
	})
}

func newUserDisableCommand() *cobra.Command {
	return newUserAct("disable USERNAME", "Stop a user, and the user's tokens, until enabled again", 1, func(cmd *cobra.Command, args []string, i *installation, _ *printer) (oauth.User, error) {
		return i.Operator.DisableUser(cmd.Context(), args[0])
	})
}

func newUserSetStateCommand() *cobra.Command {
	cmd := newUserAct("set-state USERNAME active|locked|reset", "Set the state of a user's account", 2, func(cmd *cobra.Command, args []string, i *installation, _ *printer) (oauth.User, error) {
		return i.Operator.SetUserState(cmd.Context(), args[0], oauth.SubjectState(args[1]))
	})
	cmd.Long = `Set the state of a user's account. locked and reset stop the user, and the
user's tokens, until the state is active again.`
	return cmd
}

func newUserSetPasswordCommand() *cobra.Command {
	var input passwordInput
	cmd := newUserAct("set-password USERNAME", "Set a user's password", 1, func(cmd *cobra.Command, args []string, i *installation, p *printer) (oauth.User, error) {
		was, err := i.Operator.User(cmd.Context(), args[0])
		if err != nil {
			return oauth.User{}, err
		}
		password, err := input.read(cmd, i, p, was.Username, was.Email)
		if err != nil {
			return oauth.User{}, err
		}
		return i.Operator.SetPassword(cmd.Context(), args[0], password)
	})
	cmd.Long = `Set a user's password, which is asked for or comes from --password-file. The
user's grants end, unless the setting password_change is keep; the state stays.`
	input.add(cmd)
	return cmd
}

// newUserAct is a command that does something with one user and prints it.
func newUserAct(use, short string, args int, act func(cmd *cobra.Command, args []string, i *installation, p *printer) (oauth.User, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ExactArgs(args),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			u, err := act(cmd, args, i, p)
			if err != nil {
				return err
			}
			return p.one(newUserRecord(&u))
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

func newUserDeleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete USERNAME",
		Short: "Remove a user and end the user's grants",
		Args:  cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			ended, err := i.Operator.DeleteUser(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.one(deletedRecord{Username: args[0], Deleted: true, GrantsEnded: ended})
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

// passwordInput is where a password comes from.
type passwordInput struct{ file string }

func (in *passwordInput) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&in.file, "password-file", "", "file whose first line is the password, - for standard input")
}

// read reads the password and warns of a weak one. about is what is known of its owner.
func (in *passwordInput) read(cmd *cobra.Command, i *installation, p *printer, about ...string) (oauth.Secret, error) {
	if in.file == "" && cmd.Flags().Changed("password-file") {
		return "", usageError{errors.New("--password-file needs a file, or - for standard input")}
	}
	password, err := readSecret(cmd, "password", "password-file", in.file)
	if err != nil {
		return "", err
	}
	if why := i.Operator.Weak(password, about...); why != "" {
		p.warning("the password is weak. %s", why)
	}
	return password, nil
}

// userRecord is a user as it is printed.
type userRecord struct {
	Username  string    `json:"username"`
	Email     *string   `json:"email"`
	Enabled   bool      `json:"enabled"`
	State     string    `json:"state"`
	Subject   string    `json:"subject"` // the stable id
	CreatedAt timestamp `json:"created_at"`
	UpdatedAt timestamp `json:"updated_at"`

	email string // for people
}

func newUserRecord(u *oauth.User) userRecord {
	return userRecord{
		Username: u.Username, Email: optional(u.Email), Enabled: u.Enabled, State: string(u.State), Subject: u.ID,
		CreatedAt: timestamp(u.CreatedAt), UpdatedAt: timestamp(u.UpdatedAt), email: u.Email,
	}
}

func (r userRecord) fields() []field {
	return []field{
		{name: "username", text: r.Username, column: "username"},
		{name: "email", text: r.email, column: "email"},
		{name: "enabled", text: yesNo(r.Enabled), column: "enabled"},
		{name: "state", text: r.State, column: "state"},
		{name: "subject", text: r.Subject, column: "subject"},
		{name: "created_at", text: r.CreatedAt.String()},
		{name: "updated_at", text: r.UpdatedAt.String()},
	}
}
