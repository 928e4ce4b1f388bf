package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/signing"
)

func newVersionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := newPrinter(cmd)
			if err != nil {
				return err
			}
			return p.one(thisVersion())
		},
	}
	addOutputFlag(cmd)
	return cmd
}

// versionRecord says what this program was made of.
type versionRecord struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	RSA      string `json:"rsa"` // what signs with RSA keys
}

func (r versionRecord) fields() []field {
	return []field{{"version", r.Version, ""}, {"commit", r.Commit, ""}, {"go", r.Go, ""}, {"platform", r.Platform, ""}, {"rsa", r.RSA, ""}}
}

// thisVersion reads what the Go command recorded in the program.
func thisVersion() versionRecord {
	r := versionRecord{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, RSA: signing.Backend()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return r
	}
	r.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			r.Commit = s.Value
		}
	}
	return r
}
