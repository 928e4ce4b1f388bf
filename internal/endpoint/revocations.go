package endpoint

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/feed"
	"github.com/counterfoil/counterfoil/internal/oauth"
)

const (
	// defaultWait is how long a follower waits for news who does not say: less than proxies do.
	defaultWait = 15 * time.Second
	// answerTime is what an answer may take on top of that.
	answerTime = 10 * time.Second
)

// revocations is the revocation feed: what was cut off after a cursor, for resource
// servers that verify access tokens themselves. It waits for news.
func (e *endpoint) revocations(w *response, r *http.Request) error {
	since, wait, err := followed(r.URL.RawQuery)
	if err != nil {
		return err
	}
	request, err := callerOf(w, r)
	if err != nil {
		return err
	}
	if w.clientID, err = e.Server.AuthenticateFollower(r.Context(), request); err != nil {
		return err
	}
	if err := hold(w, wait+answerTime); err != nil {
		return err
	}
	page, err := e.Feed.Follow(r.Context(), since, wait)
	if errors.Is(err, feed.ErrCursor) {
		return oauth.ErrParameterInvalid.About("since")
	}
	if err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	w.send(http.StatusOK, jsonType, appendPage(make([]byte, 0, 128+96*len(page.Cutoffs)), &page))
	return nil
}

// hold lets a request take longer than others.
func hold(w *response, longest time.Duration) error {
	control, until := http.NewResponseController(w.ResponseWriter), time.Now().Add(longest)
	return errors.Join(control.SetReadDeadline(until), control.SetWriteDeadline(until))
}

// callerOf is a request without parameters, of a client that authenticates by HTTP Basic.
func callerOf(w *response, r *http.Request) (oauth.TokenRequest, error) {
	authorization, err := single(r.Header, "Authorization")
	if err != nil {
		return oauth.TokenRequest{}, err
	}
	basic, err := standardBasic(authorization)
	return oauth.TokenRequest{Profile: oauth.Standard, Basic: basic, Source: w.source, RequestID: w.requestID}, err
}

// followed reads since and wait. Who names no cursor does not wait.
func followed(query string) (since string, wait time.Duration, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", 0, oauth.ErrBodyMalformed.Because(errEncoding)
	}
	for _, name := range []string{"since", "wait"} {
		if len(values[name]) > 1 {
			return "", 0, oauth.ErrParameterRepeated.About(name)
		}
	}
	since = values.Get("since")
	if since != "" {
		wait = defaultWait
	}
	if text := values.Get("wait"); text != "" {
		seconds, err := strconv.ParseUint(text, 10, 16)
		if wait = time.Duration(seconds) * time.Second; err != nil || wait > feed.LongestWait {
			return "", 0, oauth.ErrParameterInvalid.About("wait")
		}
	}
	return since, wait, nil
}

// appendPage writes a part of the feed.
func appendPage(b []byte, p *feed.Page) []byte {
	b = append(b, `{"next":`...)
	b = appendString(b, p.Next)
	if p.Complete {
		b = append(b, `,"complete":true`...)
	}
	if p.More {
		b = append(b, `,"more":true`...)
	}
	b = append(b, `,"revocations":[`...)
	for i := range p.Cutoffs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCutoff(b, &p.Cutoffs[i])
	}
	return append(b, "]}"...)
}

func appendCutoff(b []byte, c *feed.Cutoff) []byte {
	switch {
	case c.GrantID != "":
		b = appendString(append(b, `{"grant_id":`...), c.GrantID)
	case c.Subject != "":
		b = appendString(append(b, `{"sub":`...), c.Subject)
	default:
		b = appendString(append(b, `{"client_id":`...), c.ClientID)
	}
	switch {
	case c.Ended:
		b = append(b, `,"ended":true`...)
	case c.GrantID != "":
		b = appendNumber(b, "generation", int64(c.Generation))
	}
	if !c.PreviousUntil.IsZero() {
		b = append(b, `,"previous_until":`...)
		b = strconv.AppendFloat(b, float64(c.PreviousUntil.UnixMilli())/1000, 'f', -1, 64)
	}
	if c.Blocked {
		b = append(b, `,"blocked":true`...)
	}
	if len(c.GrantIDs) > 0 {
		b = appendTexts(append(b, `,"grant_ids":`...), c.GrantIDs)
	}
	if c.NotBefore != 0 {
		b = appendNumber(b, "not_before", c.NotBefore)
	}
	return append(appendNumber(b, "exp", c.ExpiresAt.Unix()+1), '}')
}
