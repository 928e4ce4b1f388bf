package browser

import (
	"flag"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

// screenshots is an absolute path: tests run in the directory of their package.
var screenshots = flag.String("screenshots", "", "write the screenshots of docs/pages.md into this directory")

func TestMain(m *testing.M) {
	flag.Parse()
	program.Main(m)
}
