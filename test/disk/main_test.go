package disk

import (
	"fmt"
	"os"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(holderVariable); path != "" {
		holdLock(path)
	}
	if err := intercept(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	program.Main(m)
}
