package main

import (
	"os"
	"runtime"
	"runtime/debug"
	runtimemetrics "runtime/metrics"
)

// mostGarbage is how much garbage may lie beside what is alive before it is collected,
// unless a quarter of what is alive is more. What is alive is little, but for some tens of
// MiB while passwords are hashed: a fixed amount collects seldom at rest, and does not
// multiply those.
const mostGarbage = 24 << 20

// collectSeldom sets the pace of garbage collection, anew after each. GOGC in the
// environment wins.
func collectSeldom() {
	if os.Getenv("GOGC") == "" {
		setPace(&collection{})
	}
}

// collection is an object that nobody refers to: its finalizer runs after each collection.
type collection struct{ _ [16]byte }

func setPace(c *collection) {
	live := []runtimemetrics.Sample{{Name: "/gc/heap/live:bytes"}}
	runtimemetrics.Read(live)
	debug.SetGCPercent(int(max(25, 100*mostGarbage/max(live[0].Value.Uint64(), 1<<20))))
	runtime.SetFinalizer(c, setPace)
}
