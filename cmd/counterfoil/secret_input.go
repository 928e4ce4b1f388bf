package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// maxSecretLine is the longest secret that is read, in bytes.
const maxSecretLine = 4096

// readSecret reads a secret from the first line of a file, or of standard input
// where file is "-". Without a file a person is asked, twice.
func readSecret(cmd *cobra.Command, what, flag, file string) (oauth.Secret, error) {
	switch {
	case file == "-":
		return firstLine(cmd.InOrStdin(), what)
	case file != "":
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the %s: %w", what, err)
		}
		defer func() { _ = f.Close() }()
		return firstLine(f, what)
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !isTerminal(in) {
		return "", usageError{fmt.Errorf("there is no terminal to ask for the %s: use --%s FILE, or - for standard input", what, flag)}
	}
	return ask(int(in.Fd()), cmd.ErrOrStderr(), what)
}

// firstLine reads a line without its end, LF or CR LF. All other bytes are the secret's.
func firstLine(r io.Reader, what string) (oauth.Secret, error) {
	line, err := bufio.NewReader(io.LimitReader(r, maxSecretLine+2)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	if rest, ended := bytes.CutSuffix(line, []byte("\n")); ended {
		line = bytes.TrimSuffix(rest, []byte("\r"))
	}
	switch {
	case len(line) == 0:
		return "", usageError{fmt.Errorf("the %s is empty", what)}
	case len(line) > maxSecretLine:
		return "", usageError{fmt.Errorf("the %s is longer than %d bytes", what, maxSecretLine)}
	}
	return oauth.Secret(line), nil
}

// ask asks a person twice, without showing what is typed.
func ask(terminal int, w io.Writer, what string) (oauth.Secret, error) {
	var typed [2][]byte
	for i, prompt := range []string{"Type the " + what + ": ", "Type it again: "} {
		_, _ = io.WriteString(w, prompt)
		line, err := term.ReadPassword(terminal)
		_, _ = io.WriteString(w, "\n")
		if err != nil {
			return "", fmt.Errorf("read the %s: %w", what, err)
		}
		typed[i] = line
	}
	if !bytes.Equal(typed[0], typed[1]) {
		return "", errors.New("the two are not the same")
	}
	return firstLine(bytes.NewReader(typed[0]), what)
}
