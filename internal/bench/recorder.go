package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Kind is a kind of request.
type Kind int

// The kinds of requests.
const (
	Login Kind = iota
	Refresh
	Retry // the same refresh again, after an answer was lost or an error
	kinds
)

// String is the kind as it is printed.
func (k Kind) String() string { return [kinds]string{"login", "refresh", "retry"}[k] }

// Ending is how a use of a refresh token ended, from the best for its client to the
// worst.
type Ending int

// The endings.
const (
	First   Ending = iota // a successor, when none was known
	Same                  // the successor that was handed out before
	Other                 // another one
	Reused                // the server does not rotate: the same refresh token, or none
	Cut                   // by the end of the run
	Failed                // an error, or no answer
	Refused               // invalid_grant, or 401
)

// Violation is a breach of the promise.
type Violation int

// The violations.
const (
	// Fork is two different live successors of one refresh token.
	Fork Violation = iota
	// LostSession is a refusal of an honest client's newest refresh token, or of its
	// retry in time.
	LostSession
)

// String is the violation as it is printed.
func (v Violation) String() string {
	return [...]string{"fork: two different live successors", "lost session"}[v]
}

const (
	// Latencies are kept to a microsecond at best and to three digits, up to longest.
	longest = 10 * time.Minute
	digits  = 3
	// maxErrors and maxCases bound what a broken server makes the bench remember.
	maxErrors = 50
	maxCases  = 10
)

// recorder counts what happens. All sessions share it.
type recorder struct {
	lock    sync.Mutex
	latency [kinds]*hdrhistogram.Histogram
	load    int64 // answers since the load began
	errors  map[string]int64
	r       Result // what is only counted

	began, told time.Time
	lately      *hdrhistogram.Histogram // since told
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, longest.Microseconds(), digits)
}

func newRecorder() *recorder {
	r := &recorder{errors: map[string]int64{}, lately: newHistogram()}
	for k := range r.latency {
		r.latency[k] = newHistogram()
	}
	return r
}

// begin is the begin of the load. What came before does not count as throughput.
func (r *recorder) begin(now time.Time) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.began, r.told, r.load = now, now, 0
	r.lately.Reset()
}

// answer counts an answer, or that there was none.
func (r *recorder) answer(k Kind, a *answer) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if o := a.outcome(); o == cutOff {
		return
	} else if o != granted {
		r.problem(a.problem())
	}
	if a.err != nil {
		return
	}
	took := max(1, min(a.took, longest).Microseconds())
	_, _ = r.latency[k].RecordValue(took), r.lately.RecordValue(took) // it is in range
	r.load++
}

func (r *recorder) problem(name string) {
	if _, known := r.errors[name]; !known && len(r.errors) >= maxErrors {
		name = "others"
	}
	r.errors[name]++
}

func (r *recorder) probe()     { r.count(func(t *Result) { t.Probes++ }) }
func (r *recorder) lose()      { r.count(func(t *Result) { t.LostAnswers++ }) }
func (r *recorder) lateRetry() { r.count(func(t *Result) { t.LateRetries++ }) }

// refreshed counts a refresh that the client goes on from.
func (r *recorder) refreshed(rotated bool) {
	r.count(func(t *Result) {
		if rotated {
			t.Rotations++
		} else {
			t.Reuses++
		}
	})
}

// siblings counts a refresh token with several successors that are no fork.
func (r *recorder) siblings(undecided bool) {
	r.count(func(t *Result) {
		if undecided {
			t.Undecided++
		} else {
			t.Siblings++
		}
	})
}

// endings counts how the retry for n lost answers ended.
func (r *recorder) endings(n int, e Ending) {
	r.count(func(t *Result) { t.Retries.add(e, int64(n)) })
}

// copies counts how the simultaneous uses beside the client's own ended.
func (r *recorder) copies(endings []Ending) {
	r.count(func(t *Result) {
		for _, e := range endings {
			t.Copies.add(e, 1)
		}
	})
}

// violation counts a violation, and keeps the first ones with what helps to find them.
func (r *recorder) violation(v Violation, a *answer) {
	r.count(func(t *Result) {
		switch v {
		case Fork:
			t.Forks++
		case LostSession:
			t.LostSessions++
		}
		if len(t.Cases) < maxCases {
			t.Cases = append(t.Cases, Case{
				Violation: v, After: time.Since(r.began), Status: a.status, Code: printable(a.code), RequestID: printable(a.requestID),
			})
		}
	})
}

func (r *recorder) count(what func(*Result)) {
	r.lock.Lock()
	defer r.lock.Unlock()
	what(&r.r)
}

// progress is what happened since the last time.
func (r *recorder) progress(now time.Time) Progress {
	r.lock.Lock()
	defer r.lock.Unlock()
	p := Progress{
		Elapsed: now.Sub(r.began), Throughput: perSecond(r.lately.TotalCount(), now.Sub(r.told)),
		P99: quantile(r.lately, 99), Forks: r.r.Forks, LostSessions: r.r.LostSessions,
	}
	for _, n := range r.errors {
		p.Errors += n
	}
	r.told = now
	r.lately.Reset()
	return p
}
