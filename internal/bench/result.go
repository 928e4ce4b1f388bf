package bench

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Result is what came of a run.
type Result struct {
	Elapsed    time.Duration // of the load
	Requests   int64         // answered in that time
	Throughput float64       // of them, per second
	CPU        float64       // cores that the load generator itself used; 0: unknown
	Latencies  []Latency     // of each kind of request that there was
	Errors     []Error       // the most frequent first

	Rotations int64 // refreshes with a new refresh token
	Reuses    int64 // refreshes without one: the server does not rotate

	LostAnswers  int64  // that the client did not get, by intent or not
	Retries      Tally  // how the retry for each of them ended
	Copies       Tally  // how the simultaneous uses beside the client's own ended
	LateRetries  int64  // refusals that came after the time in which a retry must be honoured
	Siblings     int64  // refresh tokens with different successors of which at most one lives
	Undecided    int64  // the same, where errors kept the bench from finding out
	Probes       int64  // requests to find out; they are not in the figures above
	Forks        int64  // violations
	LostSessions int64  // violations
	Cases        []Case // the first violations
}

// Latency is how long answers of one kind took. With a rate, that is from when the
// request was due.
type Latency struct {
	Kind                          Kind
	Count                         int64
	Min, P50, P90, P99, P999, Max time.Duration
}

// Error is a kind of answer that grants nothing, or of failure to get any.
type Error struct {
	Name  string // "transport: timeout", or the status and the OAuth error code
	Count int64
}

// Tally counts endings.
type Tally struct {
	Same    int64 // the successor that was handed out before
	Other   int64 // another one
	Unseen  int64 // a successor, where nobody knows whether there was one before
	Reused  int64 // the server does not rotate
	Refused int64
	Failed  int64 // an error, or no answer until the end
}

func (t *Tally) add(e Ending, n int64) {
	switch e {
	case First:
		t.Unseen += n
	case Same:
		t.Same += n
	case Other:
		t.Other += n
	case Reused:
		t.Reused += n
	case Refused:
		t.Refused += n
	case Failed:
		t.Failed += n
	case Cut:
	}
}

// Case is a violation with what an operator needs to find it in the server's log.
type Case struct {
	Violation Violation
	After     time.Duration // since the load began
	Status    int           // of the answer that showed it
	Code      string        // its OAuth error code
	RequestID string        // its X-Request-Id
}

// Progress is how a run goes: the last interval, and the errors and violations so far.
type Progress struct {
	Elapsed      time.Duration
	Throughput   float64
	P99          time.Duration
	Errors       int64
	Forks        int64
	LostSessions int64
}

// SameSuccessor is how often a refresh token that was used again gave the same successor.
func (r *Result) SameSuccessor() int64 { return r.Retries.Same + r.Copies.Same }

// Err says which promise the server broke, or is nil.
func (r *Result) Err() error {
	var broken []error
	if r.Forks > 0 {
		broken = append(broken, fmt.Errorf("%d times one refresh token had two different live successors", r.Forks))
	}
	if r.LostSessions > 0 {
		broken = append(broken, fmt.Errorf("%d times an honest client lost its session", r.LostSessions))
	}
	switch len(broken) {
	case 0:
		return nil
	case 1:
		return broken[0]
	}
	return fmt.Errorf("%w, and %w", broken[0], broken[1])
}

// result is what came of the run that ends now.
func (r *recorder) result(now time.Time, cpu time.Duration) *Result {
	r.lock.Lock()
	defer r.lock.Unlock()
	result := r.r
	result.Elapsed, result.Requests = now.Sub(r.began), r.load
	result.Throughput = perSecond(r.load, result.Elapsed)
	result.CPU = cpu.Seconds() / result.Elapsed.Seconds()
	for k, h := range r.latency {
		if h.TotalCount() > 0 {
			result.Latencies = append(result.Latencies, latency(Kind(k), h))
		}
	}
	for name, n := range r.errors {
		result.Errors = append(result.Errors, Error{Name: name, Count: n})
	}
	slices.SortFunc(result.Errors, func(a, b Error) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name)) })
	return &result
}

func latency(k Kind, h *hdrhistogram.Histogram) Latency {
	return Latency{
		Kind: k, Count: h.TotalCount(), Min: microseconds(h.Min()), P50: quantile(h, 50), P90: quantile(h, 90), P99: quantile(h, 99),
		P999: quantile(h, 99.9), Max: microseconds(h.Max()),
	}
}

func quantile(h *hdrhistogram.Histogram, percent float64) time.Duration {
	return microseconds(h.ValueAtPercentile(percent))
}

func microseconds(n int64) time.Duration { return time.Duration(n) * time.Microsecond }

func perSecond(n int64, d time.Duration) float64 { return float64(n) / max(d.Seconds(), 1e-9) }
