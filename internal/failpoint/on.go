//go:build failpoints

package failpoint

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// times counts how often the point of this process was reached.
var times atomic.Int64

// armed returns how often the point may be reached before the process dies; 0: it
// is not the one of this process.
func armed(name string) int64 {
	wanted, text, numbered := strings.Cut(os.Getenv(Variable), ":")
	if wanted != name {
		return 0
	}
	if !numbered {
		return 1
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		panic(fmt.Sprintf("%s=%s: the number is wrong", Variable, os.Getenv(Variable)))
	}
	return n
}

// Reach kills the process, if this is the point to die at.
func Reach(name string) {
	if n := armed(name); n == 0 || times.Add(1) != n {
		return
	}
	if err := os.WriteFile(os.Getenv(ReachedVariable), []byte(name), 0o600); err != nil {
		panic(err)
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // whatever this goroutine would do next must not happen
}

// Halve returns a writer that reaches the point in the middle of each Write, when
// the half before it has been sent; or w, if that is not the point to die at.
func Halve(name string, w http.ResponseWriter) http.ResponseWriter {
	if armed(name) == 0 {
		return w
	}
	return &halves{ResponseWriter: w, name: name}
}

type halves struct {
	http.ResponseWriter
	name string
}

// Write implements http.ResponseWriter.
func (h *halves) Write(b []byte) (int, error) {
	n, err := h.ResponseWriter.Write(b[:len(b)/2])
	if err == nil {
		err = http.NewResponseController(h.ResponseWriter).Flush()
	}
	if err != nil {
		return n, err
	}
	Reach(h.name)
	rest, err := h.ResponseWriter.Write(b[n:])
	return n + rest, err
}
