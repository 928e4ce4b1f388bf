package main

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/counterfoil/counterfoil/internal/endpoint"
	"github.com/counterfoil/counterfoil/internal/oauth"
	"github.com/counterfoil/counterfoil/internal/password"
)

// metrics counts what the server does. No label names a user or a client.
type metrics struct {
	registry  *prometheus.Registry
	refreshes *prometheus.CounterVec
	logins    *prometheus.CounterVec
	requests  *prometheus.HistogramVec
}

// The outcomes that alerts are made of exist from the start, at 0.
var (
	refreshOutcomes = []string{"rotated", "retried", "reused", "fault", oauth.ErrReplay.Reason, oauth.ErrStraggler.Reason, oauth.ErrHistoryForked.Reason, oauth.ErrGenerationUnknown.Reason, oauth.ErrGrantExpired.Reason, oauth.ErrGrantRevoked.Reason}
	loginOutcomes   = []string{"login", "fault", oauth.ErrPasswordIncorrect.Reason, oauth.ErrThrottled.Reason, oauth.ErrBusy.Reason}
)

func newMetrics(i *installation, secrets *password.ClientSecrets) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		refreshes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_refreshes_total", Help: "Refresh requests by outcome.",
		}, []string{"outcome"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "counterfoil_logins_total", Help: "Password requests by outcome.",
		}, []string{"outcome"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "counterfoil_request_duration_seconds", Help: "How long requests took, by endpoint and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"endpoint", "status"}),
	}
	for _, outcome := range refreshOutcomes {
		m.refreshes.WithLabelValues(outcome)
	}
	for _, outcome := range loginOutcomes {
		m.logins.WithLabelValues(outcome)
	}
	m.registry.MustRegister(
		m.refreshes, m.logins, m.requests,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.registry.MustRegister(figures(i, secrets)...)
	return m
}

// figures are read when somebody asks for them.
func figures(i *installation, secrets *password.ClientSecrets) []prometheus.Collector {
	version := thisVersion()
	gauge := func(name, help string, labels prometheus.Labels, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read)
	}
	counter := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read)
	}
	all := []prometheus.Collector{
		gauge("counterfoil_build_info", "The version of the program.", prometheus.Labels{"version": version.Version, "go": version.Go}, func() float64 { return 1 }),
		gauge("counterfoil_clock_seconds", "The clock of this node, which dates access tokens, in Unix time.", nil, func() float64 { return float64(time.Now().UnixMicro()) / 1e6 }),
		counter("counterfoil_password_hashes_total", "Password hashes computed.", func() float64 { return float64(i.Hasher.Computed()) }),
		counter("counterfoil_store_writes_total", "Writes that the store was asked for; per commit: the size of a batch.", func() float64 { return float64(i.Store.Stats().Writes) }),
		counter("counterfoil_store_commits_total", "Transactions that the writes shared: write batches.", func() float64 { return float64(i.Store.Stats().Commits) }),
		gauge("counterfoil_store_queue", "Writes that wait for a transaction.", nil, func() float64 { return float64(i.Store.Stats().Waiting) }),
	}
	for gate, stats := range map[string]func() (running, waiting int){"password": i.Hasher.Stats, "client_secret": secrets.Stats} {
		labels := prometheus.Labels{"gate": gate}
		all = append(all,
			gauge("counterfoil_hashing_running", "Hashes being computed.", labels, func() float64 { running, _ := stats(); return float64(running) }),
			gauge("counterfoil_hashing_waiting", "Requests that wait to have a hash computed.", labels, func() float64 { _, waiting := stats(); return float64(waiting) }),
		)
	}
	return all
}

// observe counts a request.
func (m *metrics) observe(o endpoint.Observation) {
	m.requests.WithLabelValues(o.Endpoint, strconv.Itoa(o.Status)).Observe(o.Duration.Seconds())
	switch o.GrantType {
	case oauth.GrantTypeRefreshToken:
		m.refreshes.WithLabelValues(o.Outcome).Inc()
	case oauth.GrantTypePassword:
		m.logins.WithLabelValues(o.Outcome).Inc()
	}
}

func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)})
}
