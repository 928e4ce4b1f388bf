package main

import (
	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/signing"
)

func newKeyPublicCommand() *cobra.Command {
	var alg, kid string
	cmd := &cobra.Command{
		Use:   "public",
		Short: "Print a public signing key in PEM format",
		Long: `Print a public signing key in PEM format (SubjectPublicKeyInfo), for resource servers
that check access tokens with a key file: the key that signs now, or any other that is
published. Those that can follow the JWK set (/oauth2/jwks) have no need of it.

The file must be fetched again when the keys are rotated.`,
		RunE: withRing(func(cmd *cobra.Command, _ []string, i *installation, ring *signing.Ring, _ *printer) error {
			if alg == "" && kid == "" {
				alg = i.Config.SigningAlg
			}
			pem, err := ring.PublicKey(alg, kid)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(pem)
			return err
		}),
	}
	cmd.Flags().StringVar(&alg, "alg", "", "algorithm whose key to print (default: the setting signing_alg, or that of --kid)")
	cmd.Flags().StringVar(&kid, "kid", "", "which published key to print (default: the one that signs)")
	return cmd
}
