package failover

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"syscall"
	"time"
)

// disturbance is a way to lose the leader, and to get it back as a member.
type disturbance struct {
	name  string
	begin func(*cluster, *member)
	end   func(*cluster, *member, *clients)
}

// disturbances take turns, in this order.
var disturbances = []disturbance{
	{"kill -9", kill, restart},
	{"stop", stop, wake},
	{"cut off", cutOff, heal},
	{"cut off from the others", isolate, heal},
	{"switchover", switchover, func(*cluster, *member, *clients) {}},
}

// kill kills PostgreSQL and Patroni.
func kill(c *cluster, m *member) { c.signal(m.Dir, syscall.SIGKILL) }

func restart(c *cluster, m *member, _ *clients) { c.startMember(m) }

// stop stops PostgreSQL and Patroni, as a machine that is suspended.
func stop(c *cluster, m *member) { c.signal(m.Dir, syscall.SIGSTOP) }

// wake wakes PostgreSQL first, which takes itself for the primary, and Patroni when
// clients had the time to fall for it.
func wake(c *cluster, m *member, clients *clients) {
	c.signal(m.data(), syscall.SIGCONT)
	clients.answered(5, time.Minute)
	c.signal(m.Dir, syscall.SIGCONT)
}

// cutOff cuts all of a member's networks.
func cutOff(_ *cluster, m *member) {
	for _, g := range m.gates() {
		g.set(false)
	}
}

// isolate cuts a member off from the other members and from etcd. Clients reach it.
func isolate(_ *cluster, m *member) {
	for _, g := range []*gate{m.Etcd, m.Peers, m.PeersREST} {
		g.set(false)
	}
}

func heal(_ *cluster, m *member, _ *clients) {
	for _, g := range m.gates() {
		g.set(true)
	}
}

func (m *member) gates() []*gate {
	return []*gate{m.Etcd, m.Peers, m.PeersREST, m.Clients, m.ClientsREST}
}

// switchover asks the leader to hand over to its synchronous standby, as `patronictl
// switchover` does.
func switchover(c *cluster, m *member) {
	body, err := json.Marshal(map[string]string{"leader": m.Name})
	if err != nil {
		c.t.Fatal(err)
	}
	c.await("a switchover is done", time.Minute, func() error {
		response, err := http.Post("http://"+m.REST+"/switchover", "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
}
