package crash

import (
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil/test/program"
)

func TestMain(m *testing.M) {
	// Clients keep their connections: a long run would else use up all ports.
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 4 * residents
	// Without the race detector: who is killed reports no race, and starts are many.
	program.Main(m, "-race=false", "-tags", "failpoints")
}
