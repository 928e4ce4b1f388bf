package password

import "fmt"

// The limits of argon2id, in KiB of memory and in lanes. Above them one stored
// hash, or one typing mistake, could take the machine down. The work is memory
// times passes; libsodium's "sensitive" limit is just inside.
const (
	minMemoryKiB = 7 << 10
	maxMemoryKiB = 1 << 20
	maxWork      = 4 << 20
	maxThreads   = 64
)

// Params are the parameters of argon2id (RFC 9106 section 3.1) for new hashes.
type Params struct {
	MemoryKiB uint32 // m, in KiB
	Time      uint32 // t, passes over the memory
	Threads   uint8  // p, lanes
}

// DefaultParams returns 19 MiB, 2 passes and 1 lane, as OWASP recommends.
func DefaultParams() Params { return Params{MemoryKiB: 19 << 10, Time: 2, Threads: 1} }

// Validate returns an error that says which parameter is out of its limits:
// memory 7 MiB to 1 GiB, at least one pass and 1 to 64 threads, and memory times
// passes at most 4 GiB.
func (p Params) Validate() error {
	if p.MemoryKiB < minMemoryKiB {
		return fmt.Errorf("the memory of the password hash is %d KiB, less than %d KiB (7 MiB)", p.MemoryKiB, minMemoryKiB)
	}
	return p.bounded()
}

// bounded checks what holds for stored hashes of any origin too.
func (p Params) bounded() error {
	switch {
	case p.MemoryKiB > maxMemoryKiB:
		return fmt.Errorf("the memory of the password hash is %d KiB, more than %d KiB (1 GiB)", p.MemoryKiB, maxMemoryKiB)
	case p.Time < 1:
		return fmt.Errorf("the time of the password hash is 0 passes, less than 1")
	case p.work() > maxWork:
		return fmt.Errorf("the password hash fills %d KiB in %d passes, more than 4 GiB in all", p.MemoryKiB, p.Time)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("the password hash has %d threads, not 1 to %d", p.Threads, maxThreads)
	case p.MemoryKiB < 8*uint32(p.Threads):
		return fmt.Errorf("the memory of the password hash is %d KiB, less than 8 KiB for each of %d threads", p.MemoryKiB, p.Threads)
	}
	return nil
}

// work is what one hash costs, in KiB filled.
func (p Params) work() uint64 { return uint64(p.MemoryKiB) * uint64(p.Time) }

// rounded is p with the memory that argon2 really uses: a multiple of 4 KiB per
// lane (RFC 9106 section 3.2).
func (p Params) rounded() Params {
	p.MemoryKiB -= p.MemoryKiB % (4 * uint32(p.Threads))
	return p
}
