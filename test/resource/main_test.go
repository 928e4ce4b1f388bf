package resource_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

func TestMain(m *testing.M) { program.Main(m) }
