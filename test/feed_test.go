package test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/test/program"
)

const (
	cutoffsPerSecond = 1000
	cutters          = 64 // connections over which access tokens are cut off
	feedFollowers    = 100
)

// BenchmarkFeed cuts access tokens off at the real server, on SQLite, 1,000 a second, by
// refreshes of 64 sessions or by revocations of a grant each, while 100 resource servers
// follow the feed, each over a connection of its own. It reports the delay from the
// acknowledged refresh or revocation to its arrival at each of them. With
// -benchtime=10000x it takes ten seconds.
func BenchmarkFeed(b *testing.B) {
	b.Run("refreshes", func(b *testing.B) { measureFeed(b, 64, (*cutter).refresh) })
	b.Run("revocations", func(b *testing.B) { measureFeed(b, b.N, (*cutter).revoke) })
}

// cutoff is a cut-off, and when it was acknowledged.
type cutoff struct {
	grantID    string
	generation int // below which access tokens are dead; they all are if it is revoked
	at         time.Time
}

// revoked is a generation that no grant reaches.
const revoked = 1 << 32

// visit is a visitor's session.
type visit struct {
	grantID string
	refresh string
}

// cutter cuts access tokens off over a connection.
type cutter struct {
	*connection
	visits []visit
	done   []cutoff
}

// measureFeed measures b.N cut-offs of so many grants.
func measureFeed(b *testing.B, grants int, cut func(*cutter, *visit) (cutoff, error)) {
	l := &loaded{Program: program.New(b, "SIGNING_ALG=EdDSA", "LOG_LEVEL=warn", "VISITORS=true")}
	l.Run("", "migrate", "up")
	l.client = l.CreateClient("--storefront")
	resource := l.CreateClient("--grant-type", "client_credentials")
	l.Start()
	workers := l.visit(b, grants)
	following := l.follow(b, resource)
	before := serverCPU(b, l.Server.Process.Pid)
	b.ResetTimer()
	inParallel(b, workers, func(first int, c *cutter) error { return c.cutOff(first, b.N, cut) })
	b.StopTimer()
	cpu := serverCPU(b, l.Server.Process.Pid) - before
	var all []cutoff
	for _, c := range workers {
		all = append(all, c.done...)
	}
	report(b, following(), all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cut-offs/s")
	b.ReportMetric(float64(cpu.Microseconds())/float64(b.N), "server-cpu-µs")
}

// inParallel does something with each of a list.
func inParallel[T any](b *testing.B, list []T, do func(int, T) error) {
	b.Helper()
	var working sync.WaitGroup
	for i, one := range list {
		working.Go(func() {
			if err := do(i, one); err != nil {
				b.Error(err)
			}
		})
	}
	working.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// visit logs so many visitors in, which needs no passwords, and shares them among the
// connections.
func (l *loaded) visit(b *testing.B, grants int) []*cutter {
	b.Helper()
	workers := make([]*cutter, min(cutters, grants))
	inParallel(b, workers, func(i int, _ *cutter) error {
		c, err := l.connect()
		if err != nil {
			return err
		}
		b.Cleanup(c.close)
		workers[i] = &cutter{connection: c}
		for range (grants + i) / len(workers) {
			answer, err := c.token(`"grant_type":"password","username":"guest","password":"guest"`)
			if err != nil {
				return err
			}
			claims, err := readClaims(answer.AccessToken)
			if err != nil {
				return err
			}
			workers[i].visits = append(workers[i].visits, visit{claims.GrantID, answer.RefreshToken})
		}
		return nil
	})
	return workers
}

// cutOff cuts off its share of so many, each when it is due.
func (c *cutter) cutOff(first, number int, cut func(*cutter, *visit) (cutoff, error)) error {
	begun := time.Now()
	for i := first; i < number && len(c.visits) > 0; i += cutters {
		time.Sleep(time.Until(begun.Add(time.Duration(i) * time.Second / cutoffsPerSecond)))
		done, err := cut(c, &c.visits[i/cutters%len(c.visits)])
		if err != nil {
			return err
		}
		c.done = append(c.done, done)
	}
	return nil
}

func (c *cutter) refresh(v *visit) (cutoff, error) {
	answer, err := c.token(`"grant_type":"refresh_token","refresh_token":"` + v.refresh + `"`)
	if err != nil {
		return cutoff{}, err
	}
	at := time.Now()
	v.refresh = answer.RefreshToken
	claims, err := readClaims(answer.AccessToken)
	return cutoff{v.grantID, claims.Generation, at}, err
}

func (c *cutter) revoke(v *visit) (cutoff, error) {
	body := url.Values{"token": {v.refresh}, "client_id": {c.client.ID}, "client_secret": {c.client.Secret}}.Encode()
	_, err := c.post("/oauth2/revoke", "application/x-www-form-urlencoded", body)
	return cutoff{v.grantID, revoked, time.Now()}, err
}

// token asks for tokens with the members of a JSON object.
func (c *connection) token(members string) (program.Tokens, error) {
	body := `{"client_id":"` + c.client.ID + `","client_secret":"` + c.client.Secret + `",` + members + `}`
	answer, err := c.post("/oauth2-token", "application/json", body)
	var t program.Tokens
	return t, errors.Join(err, json.Unmarshal(answer, &t))
}

// post sends a request that must be answered with 200.
func (c *connection) post(path, contentType, body string) ([]byte, error) {
	_, err := fmt.Fprintf(c.conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, c.Address, contentType, len(body), body)
	if err != nil {
		return nil, err
	}
	status, answer, err := readAnswer(c.answers)
	if err == nil && !strings.Contains(status, " 200 ") {
		err = fmt.Errorf("%s: %s%s", path, status, answer)
	}
	return answer, err
}

// feedClaims are what a cut-off refers to in an access token.
type feedClaims struct {
	GrantID    string `json:"grant_id"`
	Generation int    `json:"gen"`
}

func readClaims(accessToken string) (c feedClaims, err error) {
	_, rest, _ := strings.Cut(accessToken, ".")
	payload, _, _ := strings.Cut(rest, ".")
	content, err := base64.RawURLEncoding.DecodeString(payload)
	return c, errors.Join(err, json.Unmarshal(content, &c))
}

// arrival is an answer of the feed. It is read when all is over, so that the server has
// the machine.
type arrival struct {
	at   time.Time
	body []byte
}

// follow lets everybody follow. The function returned ends that, when nothing more comes,
// and returns what came at each.
func (l *loaded) follow(b *testing.B, resource program.Client) (end func() [][]arrival) {
	b.Helper()
	ended := make(chan struct{})
	came := make([][]arrival, feedFollowers)
	var beginning, working sync.WaitGroup
	for i := range came {
		beginning.Add(1)
		working.Go(func() {
			var begun sync.Once
			defer begun.Do(beginning.Done)
			var err error
			if came[i], err = l.followRepeatedly(resource, ended, func() { begun.Do(beginning.Done) }); err != nil {
				b.Error(err)
			}
		})
	}
	beginning.Wait()
	return func() [][]arrival {
		close(ended)
		working.Wait()
		return came
	}
}

// followRepeatedly follows over one connection.
func (l *loaded) followRepeatedly(resource program.Client, ended <-chan struct{}, begun func()) (came []arrival, err error) {
	c, err := l.connect()
	if err != nil {
		return nil, err
	}
	defer c.close()
	cursor, last := "", false
	for {
		wait := 10
		select {
		case <-ended:
			wait, last = 1, true
		default:
		}
		answer, err := c.revocations(resource, cursor, wait)
		if err != nil {
			return nil, err
		}
		came = append(came, arrival{time.Now(), answer})
		begun()
		_, rest, _ := strings.Cut(string(answer[:min(len(answer), 200)]), `"next":"`)
		cursor, _, _ = strings.Cut(rest, `"`)
		if last && strings.HasSuffix(string(answer), `"revocations":[]}`) {
			return came, nil
		}
	}
}

// revocations asks the feed once.
func (c *connection) revocations(resource program.Client, cursor string, wait int) ([]byte, error) {
	query := ""
	if cursor != "" {
		query = fmt.Sprintf("?since=%s&wait=%d", cursor, wait)
	}
	basic := base64.StdEncoding.EncodeToString([]byte(resource.ID + ":" + resource.Secret))
	if _, err := fmt.Fprintf(c.conn, "GET /oauth2/revocations%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\n\r\n", query, c.Address, basic); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(c.answers, nil) // a long one comes in chunks
	if err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("revocations: %s %s", response.Status, answer)
	}
	return answer, errors.Join(err, response.Body.Close())
}

// report reports how long the cut-offs took to each follower.
func report(b *testing.B, came [][]arrival, all []cutoff) {
	b.Helper()
	slices.SortFunc(all, func(a, b cutoff) int { return a.generation - b.generation })
	var delays []time.Duration
	for _, arrivals := range came {
		missing := map[string][]cutoff{}
		for _, c := range all {
			missing[c.grantID] = append(missing[c.grantID], c)
		}
		for _, a := range arrivals {
			delays = append(delays, a.take(b, missing)...)
		}
	}
	if want := len(all) * len(came); len(delays) != want {
		b.Fatalf("%d of %d cut-offs arrived", len(delays), want)
	}
	slices.Sort(delays)
	for name, d := range map[string]time.Duration{"median-ms": delays[len(delays)/2], "p99-ms": delays[len(delays)*99/100], "max-ms": delays[len(delays)-1]} {
		b.ReportMetric(float64(d.Microseconds())/1000, name)
	}
}

// take takes what arrived out of what is missing, which is in order, and returns how long
// each took.
func (a *arrival) take(b *testing.B, missing map[string][]cutoff) (delays []time.Duration) {
	b.Helper()
	var page struct {
		Revocations []struct {
			GrantID    string `json:"grant_id"`
			Generation int    `json:"generation"`
			Ended      bool   `json:"ended"`
		} `json:"revocations"`
	}
	if err := json.Unmarshal(a.body, &page); err != nil {
		b.Fatal(err)
	}
	for _, r := range page.Revocations {
		if r.Ended {
			r.Generation = revoked
		}
		rest := missing[r.GrantID]
		for len(rest) > 0 && rest[0].generation <= r.Generation {
			delays = append(delays, max(0, a.at.Sub(rest[0].at)))
			rest = rest[1:]
		}
		missing[r.GrantID] = rest
	}
	return delays
}
