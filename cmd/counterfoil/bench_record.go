package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/bench"
)

// benchRecord is the result of a load run as it is printed.
type benchRecord struct {
	ElapsedSeconds    float64           `json:"elapsed_seconds"`
	Requests          int64             `json:"requests"`
	RequestsPerSecond float64           `json:"requests_per_second"`
	OwnCPU            float64           `json:"own_cpu"` // cores
	Latencies         []latencyRecord   `json:"latencies"`
	Errors            []errorRecord     `json:"errors"`
	Rotations         int64             `json:"rotations"`
	Reused            int64             `json:"reused"`
	LostAnswers       int64             `json:"lost_answers"`
	Retries           endingsRecord     `json:"retries"`
	RaceCopies        endingsRecord     `json:"race_copies"`
	LateRetries       int64             `json:"late_retries"`
	SameSuccessor     int64             `json:"same_successor"`
	Siblings          int64             `json:"siblings"`
	Undecided         int64             `json:"undecided"`
	Probes            int64             `json:"probes"`
	Forks             int64             `json:"forks"`
	LostSessions      int64             `json:"lost_sessions"`
	Violations        []violationRecord `json:"violations"` // the first ones
}

func newBenchRecord(r *bench.Result) benchRecord {
	b := benchRecord{
		ElapsedSeconds: r.Elapsed.Seconds(), Requests: r.Requests, RequestsPerSecond: r.Throughput, OwnCPU: r.CPU,
		Latencies: []latencyRecord{}, Errors: []errorRecord{}, Violations: []violationRecord{}, // none are [], not null
		Rotations: r.Rotations, Reused: r.Reuses, LostAnswers: r.LostAnswers, Retries: endingsRecord(r.Retries), RaceCopies: endingsRecord(r.Copies),
		LateRetries: r.LateRetries, SameSuccessor: r.SameSuccessor(), Siblings: r.Siblings, Undecided: r.Undecided, Probes: r.Probes,
		Forks: r.Forks, LostSessions: r.LostSessions,
	}
	for _, l := range r.Latencies {
		b.Latencies = append(b.Latencies, latencyRecord{
			Kind: l.Kind.String(), Count: l.Count, Min: milliseconds(l.Min), P50: milliseconds(l.P50), P90: milliseconds(l.P90),
			P99: milliseconds(l.P99), P999: milliseconds(l.P999), Max: milliseconds(l.Max),
		})
	}
	for _, e := range r.Errors {
		b.Errors = append(b.Errors, errorRecord{Error: e.Name, Count: e.Count})
	}
	for _, c := range r.Cases {
		b.Violations = append(b.Violations, violationRecord{
			Violation: c.Violation.String(), AfterSeconds: c.After.Seconds(), Status: c.Status, Error: c.Code, RequestID: c.RequestID,
		})
	}
	return b
}

func (r benchRecord) fields() []field {
	count := func(n int64, what string) string { return strings.TrimSpace(strconv.FormatInt(n, 10) + " " + what) }
	return []field{
		{name: "elapsed", text: time.Duration(r.ElapsedSeconds * float64(time.Second)).Round(time.Millisecond).String()},
		{name: "throughput", text: fmt.Sprintf("%.0f requests/s", r.RequestsPerSecond)},
		{name: "load generator", text: fmt.Sprintf("used %.0f %% of a core", r.OwnCPU*100)},
		{name: "rotations", text: count(r.Rotations, "")},
		{name: "reused", text: count(r.Reused, "refreshes without a new refresh token")},
		{name: "lost answers", text: count(r.LostAnswers, "")},
		{name: "their retries", text: r.Retries.String()},
		{name: "race copies", text: r.RaceCopies.String()},
		{name: "late retries", text: count(r.LateRetries, "refused after the retry window")},
		{name: "same successor", text: count(r.SameSuccessor, "times")},
		{name: "siblings", text: count(r.Siblings, "refresh tokens with several successors, at most one alive")},
		{name: "undecided", text: count(r.Undecided, "with several, and errors when asked which live")},
		{name: "forks", text: count(r.Forks, "refresh tokens with two different live successors")},
		{name: "lost sessions", text: count(r.LostSessions, "honest clients logged out")},
	}
}

// endingsRecord says how often a further use of a refresh token ended how.
type endingsRecord struct {
	Same    int64 `json:"same_successor"`
	Other   int64 `json:"other_successor"`
	Unseen  int64 `json:"first_successor"` // nobody knows of one before
	Reused  int64 `json:"reused"`
	Refused int64 `json:"refused"`
	Failed  int64 `json:"error"`
}

// String is the endings as people read them: those that there were.
func (r endingsRecord) String() string {
	var parts []string
	for _, part := range []struct {
		name  string
		count int64
	}{
		{"same successor", r.Same},
		{"other successor", r.Other},
		{"first successor", r.Unseen},
		{"reused", r.Reused},
		{"refused", r.Refused},
		{"error", r.Failed},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.name))
		}
	}
	return strings.Join(parts, ", ")
}

// latencyRecord is the latencies of a kind of request, in milliseconds.
type latencyRecord struct {
	Kind  string       `json:"kind"`
	Count int64        `json:"count"`
	Min   milliseconds `json:"min_ms"`
	P50   milliseconds `json:"p50_ms"`
	P90   milliseconds `json:"p90_ms"`
	P99   milliseconds `json:"p99_ms"`
	P999  milliseconds `json:"p99.9_ms"`
	Max   milliseconds `json:"max_ms"`
}

func (r latencyRecord) fields() []field {
	return []field{
		{text: r.Kind, column: "request"},
		{text: strconv.FormatInt(r.Count, 10), column: "count"},
		{text: r.Min.String(), column: "min"},
		{text: r.P50.String(), column: "p50"},
		{text: r.P90.String(), column: "p90"},
		{text: r.P99.String(), column: "p99"},
		{text: r.P999.String(), column: "p99.9"},
		{text: r.Max.String(), column: "max"},
	}
}

// milliseconds is a duration that JSON has in milliseconds.
type milliseconds time.Duration

// MarshalJSON implements json.Marshaler.
func (m milliseconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(m)/float64(time.Millisecond), 'f', 3, 64), nil
}

// String is the duration as people read it.
func (m milliseconds) String() string { return latencyText(time.Duration(m)) }

// errorRecord is a kind of error.
type errorRecord struct {
	Error string `json:"error"`
	Count int64  `json:"count"`
}

func (r errorRecord) fields() []field {
	return []field{{text: r.Error, column: "error"}, {text: strconv.FormatInt(r.Count, 10), column: "count"}}
}

// violationRecord is a violation, with what finds it in the server's log.
type violationRecord struct {
	Violation    string  `json:"violation"`
	AfterSeconds float64 `json:"after_seconds"`
	Status       int     `json:"status"`
	Error        string  `json:"error"`
	RequestID    string  `json:"request_id"`
}

func (r violationRecord) fields() []field {
	return []field{
		{text: r.Violation, column: "violation"},
		{text: fmt.Sprintf("%.3fs", r.AfterSeconds), column: "after"},
		{text: strconv.Itoa(r.Status), column: "status"},
		{text: r.Error, column: "error"},
		{text: r.RequestID, column: "request_id"},
	}
}
