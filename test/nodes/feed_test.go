package nodes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/counterfoil/counterfoil/test/postgres"
	"github.com/counterfoil/counterfoil/test/program"
)

// promptly is when what was cut off is known at every node, on a machine that has much
// else to do.
const promptly = 2 * time.Second

// follower is a resource server that follows the revocation feed at one node or another.
type follower struct {
	client program.Client
	at     *program.Program
	cursor string
	anew   int // lists that began anew
	known  map[string]cutoff
}

// cutoff is an entry of the feed.
type cutoff struct {
	GrantID    string   `json:"grant_id"`
	Generation int      `json:"generation"`
	Ended      bool     `json:"ended"`
	Subject    string   `json:"sub"`
	ClientID   string   `json:"client_id"`
	Blocked    bool     `json:"blocked"`
	GrantIDs   []string `json:"grant_ids"`
}

// claims are what the feed's entries refer to in an access token.
type claims struct {
	GrantID    string `json:"grant_id"`
	Generation int    `json:"gen"`
	ClientID   string `json:"client_id"`
}

func claimsOf(t *testing.T, accessToken string) claims {
	t.Helper()
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		t.Fatalf("an access token of %d parts", len(parts))
	}
	content, err := base64.RawURLEncoding.DecodeString(parts[1])
	var c claims
	if err := errors.Join(err, json.Unmarshal(content, &c)); err != nil || c.GrantID == "" {
		t.Fatalf("claims of an access token: %s, %v", content, err)
	}
	return c
}

// follow begins to follow at a node, and knows what there is to know.
func follow(t *testing.T, c program.Client, at *program.Program) *follower {
	t.Helper()
	f := &follower{client: c, at: at}
	if err := f.ask(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// ask asks once, or until there is no more.
func (f *follower) ask(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait+20*time.Second)
	defer cancel()
	for {
		query := url.Values{"wait": {fmt.Sprint(int(wait.Seconds()))}}
		if f.cursor != "" {
			query.Set("since", f.cursor)
		}
		more, err := f.askOnce(ctx, query)
		if err != nil || !more {
			return err
		}
	}
}

func (f *follower) askOnce(ctx context.Context, query url.Values) (more bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.at.Address+"/oauth2/revocations?"+query.Encode(), nil)
	if err != nil {
		return false, err
	}
	request.SetBasicAuth(f.client.ID, f.client.Secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("follow at %s: status %d", f.at.Address, response.StatusCode)
	}
	var page struct {
		Next           string
		Complete, More bool
		Revocations    []cutoff
	}
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		return false, err
	}
	if page.Complete {
		f.known, f.anew = map[string]cutoff{}, f.anew+1
	}
	for _, c := range page.Revocations {
		f.known[c.GrantID+" "+c.Subject+" "+c.ClientID] = c
	}
	f.cursor = page.Next
	return page.More, nil
}

// refuses reports whether an access token is dead as far as the follower knows.
func (f *follower) refuses(c claims) bool {
	if grant := f.known[c.GrantID+"  "]; grant.Ended || c.Generation < grant.Generation {
		return true
	}
	for _, known := range f.known {
		if known.Blocked && (known.ClientID == c.ClientID || slices.Contains(known.GrantIDs, c.GrantID)) {
			return true
		}
	}
	return false
}

// learns waits until a follower refuses an access token.
func (f *follower) learns(t *testing.T, within time.Duration, what string, c claims) {
	t.Helper()
	eventually(t, within, what, func() bool {
		if err := f.ask(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		return f.refuses(c)
	})
}

// resourceServer makes a client that follows.
func resourceServer(node *program.Program) program.Client {
	return node.CreateClient("--grant-type", "client_credentials")
}

// TestFeed: whatever kills an access token at a node, or at the command line, the feeds of
// all nodes say so soon, and of no other token.
func TestFeed(t *testing.T) {
	t.Parallel()
	for name, front := range fronts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nodes := startNodes(t, 2, front(t, postgres.Migrated(t)))
			client := resourceServer(nodes[0])
			followers := []*follower{follow(t, client, nodes[0]), follow(t, client, nodes[1])}
			bystander := claimsOf(t, logIn(t, nodes[0], "bystander").held.AccessToken)
			for name, act := range map[string]func(*session){
				"refresh":           func(s *session) { s.refresh(t, nodes[0], http.StatusOK) },
				"disable_user":      func(s *session) { nodes[0].Run("", "user", "disable", s.user) },
				"delete_user":       func(s *session) { nodes[0].Run("", "user", "delete", s.user) },
				"revoke_grants":     func(s *session) { nodes[0].Run("", "grant", "revoke", "--user", s.user) },
				"deactivate_client": func(s *session) { nodes[0].Run("", "client", "deactivate", s.client.ID) },
				"delete_client":     func(s *session) { nodes[0].Run("", "client", "delete", s.client.ID) },
				"change_password": func(s *session) {
					nodes[0].Run(password+"2\n", "user", "set-password", s.user, "--password-file", "-")
				},
			} {
				s := logIn(t, nodes[1], name)
				token := claimsOf(t, s.held.AccessToken)
				for i, f := range followers {
					if err := f.ask(t.Context(), 0); err != nil || f.refuses(token) {
						t.Fatalf("%s: a new token is refused at node %d: %v, %v", name, i, f.refuses(token), err)
					}
				}
				act(s)
				for i, f := range followers {
					f.learns(t, promptly, fmt.Sprintf("%s is known at node %d", name, i), token)
				}
			}
			for i, f := range followers {
				if f.refuses(bystander) || f.anew != 1 {
					t.Errorf("node %d: the token of a bystander is refused: %v; the list began %d times, want once", i, f.refuses(bystander), f.anew)
				}
			}
		})
	}
}

// visitors logs visitors in, which needs no passwords. The node has the setting for it.
func visitors(t *testing.T, node *program.Program, number int) []*session {
	t.Helper()
	client := node.CreateClient("--storefront")
	list := make([]*session, number)
	for i := range list {
		held, err := node.Login(client, "guest", "guest")
		if err != nil || held.Status != http.StatusOK {
			t.Fatalf("a visitor's login: %+v, %v", held, err)
		}
		list[i] = &session{client: client, held: held}
	}
	return list
}

// TestFeedNodeKilled: what a node has answered is known at the other soon after it was
// killed, though it had no time to say so.
func TestFeedNodeKilled(t *testing.T) {
	t.Parallel()
	const grants, noticed = 100, 20 * time.Second
	for name, quiet := range map[string]bool{"busy": false, "quiet_before": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := postgres.Migrated(t)
			dies, lives := newNode(t, database, masterKey, "VISITORS=true"), newNode(t, database, masterKey)
			dies.Start()
			lives.Start()
			f := follow(t, resourceServer(lives), lives)
			sessions := visitors(t, dies, grants)
			var old []claims
			if !quiet {
				old = refreshUntilKilled(t, dies, sessions)
			} else {
				eventually(t, 10*time.Second, "both nodes know of each other", func() bool {
					return count(t, database, "SELECT count(DISTINCT node) FROM feed_announcements WHERE number > 0") == 2
				})
				old = append(old, claimsOf(t, sessions[0].held.AccessToken))
				sessions[0].refresh(t, dies, http.StatusOK)
				dies.Kill()
			}
			if len(old) == 0 {
				t.Fatal("the node was killed before it answered")
			}
			for i, c := range old {
				f.learns(t, noticed, fmt.Sprintf("refresh %d of %d that were answered is known", i, len(old)), c)
			}
			if f.anew != 1 {
				t.Errorf("the list began %d times, want once", f.anew)
			}
		})
	}
}

// refreshUntilKilled refreshes sessions at the same time, kills the node when half are
// answered, and returns the access tokens that the answers killed.
func refreshUntilKilled(t *testing.T, node *program.Program, sessions []*session) (old []claims) {
	t.Helper()
	answered := make(chan claims, len(sessions))
	var refreshing sync.WaitGroup
	for _, s := range sessions {
		before := claimsOf(t, s.held.AccessToken)
		refreshing.Go(func() {
			if answer, err := node.Refresh(s.client, s.held.RefreshToken); err == nil && answer.Status == http.StatusOK {
				answered <- before
			}
		})
	}
	for range len(sessions) / 2 {
		old = append(old, <-answered)
	}
	node.Kill()
	refreshing.Wait()
	close(answered)
	for c := range answered {
		old = append(old, c)
	}
	return old
}

// TestFeedMove: a follower that goes from node to node with its cursor misses nothing,
// nor where a node is started anew.
func TestFeedMove(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, postgres.Migrated(t))
	client := resourceServer(nodes[0])
	f := follow(t, client, nodes[0])
	follow(t, client, nodes[1])
	s := logIn(t, nodes[0], "user")
	for i := range 20 {
		token := claimsOf(t, s.held.AccessToken)
		s.refresh(t, nodes[i%3%2], http.StatusOK)
		f.at = nodes[i%2]
		if i == 10 {
			f.at.Stop()
			f.at.Start()
		}
		f.learns(t, 2*promptly, fmt.Sprintf("refresh %d is known", i), token)
	}
	if f.anew != 1 {
		t.Errorf("the list began %d times, want once", f.anew)
	}
}

// TestFeedStops: a node that is told to stop does not wait for those who wait for news.
func TestFeedStops(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, postgres.Migrated(t))
	f := follow(t, resourceServer(nodes[0]), nodes[0])
	asked := make(chan error, 1)
	go func() { asked <- f.ask(t.Context(), 50*time.Second) }()
	s := logIn(t, nodes[0], "user") // meanwhile it waits
	token := claimsOf(t, s.held.AccessToken)
	s.refresh(t, nodes[0], http.StatusOK)
	if err := <-asked; err != nil || !f.refuses(token) {
		t.Fatalf("a follower who waited knows of the refresh: %v, %v", f.refuses(token), err)
	}
	go func() { asked <- f.ask(t.Context(), 50*time.Second) }()
	token = claimsOf(t, s.held.AccessToken)
	begun := time.Now()
	s.refresh(t, nodes[0], http.StatusOK)
	nodes[0].Stop()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the node stopped after %s", took)
	}
	if err := <-asked; err != nil {
		t.Errorf("who waited at the node that stopped: %v", err)
	}
	f.at = nodes[1]
	f.learns(t, 2*promptly, "a refresh just before the node stopped", token)
}

// count is the number that a query returns.
func count(t *testing.T, database, query string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// rows are the numbers of rows of all tables.
func rows(t *testing.T, database string) map[string]int {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	list, err := conn.Query(t.Context(), "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
	if err != nil {
		t.Fatal(err)
	}
	tables, err := pgx.CollectRows(list, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]int{}
	for _, table := range tables {
		numbers[table] = count(t, database, "SELECT count(*) FROM "+pgx.Identifier{table}.Sanitize())
	}
	return numbers
}

// TestFeedRows: refreshes add no row to any table, though somebody follows at each node.
func TestFeedRows(t *testing.T) {
	t.Parallel()
	database := postgres.Migrated(t)
	nodes := startNodes(t, 2, database)
	client := resourceServer(nodes[0])
	followers := []*follower{follow(t, client, nodes[0]), follow(t, client, nodes[1])}
	s := logIn(t, nodes[0], "user")
	before := rows(t, database)
	var last claims
	for i := range 300 {
		last = claimsOf(t, s.held.AccessToken)
		s.refresh(t, nodes[i%2], http.StatusOK)
	}
	for i, f := range followers {
		f.learns(t, promptly, fmt.Sprintf("the last refresh is known at node %d", i), last)
	}
	if before["grants"] != 1 || before["feed_announcements"] == 0 {
		t.Errorf("rows before: %v; want a grant, and announcements", before)
	}
	for table, n := range rows(t, database) {
		if n != before[table] {
			t.Errorf("%s: %d rows before 300 refreshes and %d after", table, before[table], n)
		}
	}
}
