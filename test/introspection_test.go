package test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// BenchmarkIntrospect loads the real server, on SQLite, with 64 connections that ask
// about 64 access tokens, the caller authenticated by its generated secret. It reports
// the answers a second and the CPU time that the server spends on one.
func BenchmarkIntrospect(b *testing.B) {
	l := newLoadProgram(b, "SIGNING_ALG=EdDSA", "LOG_LEVEL=info")
	tokens := make([]string, len(l.held))
	for i, refresh := range l.held {
		answer, err := l.Refresh(l.client, refresh)
		if err != nil || answer.Status != http.StatusOK {
			b.Fatalf("refresh: %+v, %v", answer, err)
		}
		tokens[i] = answer.AccessToken
	}
	before := serverCPU(b, l.Server.Process.Pid)
	b.ResetTimer()
	var working sync.WaitGroup
	for i, token := range tokens {
		working.Go(func() { l.introspectRepeatedly(b, token, (b.N+i)/len(tokens)) })
	}
	working.Wait()
	b.StopTimer()
	cpu := (serverCPU(b, l.Server.Process.Pid) - before) / time.Duration(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
	b.ReportMetric(float64(cpu.Nanoseconds())/1000, "server-cpu-µs")
}

// introspectRepeatedly asks n times about a living access token over one connection.
func (l *loaded) introspectRepeatedly(b *testing.B, token string, n int) {
	c, err := l.connect()
	if err != nil {
		b.Error(err)
		return
	}
	defer c.close()
	body := "token=" + token
	request := fmt.Appendf(nil, "POST /oauth2/introspect HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		c.Address, base64.StdEncoding.EncodeToString([]byte(l.client.ID+":"+l.client.Secret)), len(body), body)
	for range n {
		if _, err := c.conn.Write(request); err != nil {
			b.Error(err)
			return
		}
		status, answer, err := readAnswer(c.answers)
		if err != nil || !strings.Contains(status, " 200 ") || !strings.HasPrefix(string(answer), `{"active":true,`) {
			b.Errorf("introspection: %s%s, %v", status, answer, err)
			return
		}
	}
}
