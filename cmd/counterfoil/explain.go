package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

func newExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain ID",
		Short: "Say why a request was refused, by the X-Request-Id of its answer",
		Args:  cobra.ExactArgs(1),
		RunE: withInstallation(func(cmd *cobra.Command, args []string, i *installation, p *printer) error {
			events, err := i.Operator.Explain(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return p.explain(events)
		}),
	}
	addOutputFlag(cmd)
	return cmd
}

// explain prints the events of a request: in full for people, as an array in JSON.
func (p *printer) explain(events []oauth.Event) error {
	records := make([]record, len(events))
	for n := range events {
		records[n] = newEventRecord(&events[n])
	}
	if p.json {
		return p.list(eventRecord{}, records)
	}
	for n, r := range records {
		if n > 0 {
			_, _ = fmt.Fprintln(p.out)
		}
		if err := p.one(r); err != nil {
			return err
		}
	}
	return nil
}

// eventRecord is an event as it is printed.
type eventRecord struct {
	At          timestamp `json:"at"`
	Type        string    `json:"type"`
	Reason      string    `json:"reason"`
	Explanation string    `json:"explanation"`
	RequestID   string    `json:"request_id"`
	ClientID    string    `json:"client_id"`
	Subject     string    `json:"subject"`
	GrantID     string    `json:"grant_id"`
	Source      string    `json:"source"`
	Detail      string    `json:"detail"`
	Count       int       `json:"count"` // repeated refusals share an event
	LastAt      timestamp `json:"last_at"`
}

func newEventRecord(e *oauth.Event) eventRecord {
	return eventRecord{
		At: timestamp(e.At), Type: string(e.Type), Reason: e.Reason, Explanation: explanations[e.Reason], RequestID: e.RequestID,
		ClientID: e.ClientID, Subject: e.Subject, GrantID: e.GrantID, Source: e.Source, Detail: e.Detail,
		Count: max(1, e.Count), LastAt: timestamp(e.LastAt),
	}
}

func (r eventRecord) fields() []field {
	return []field{
		{name: "at", text: r.At.String()},
		{name: "type", text: r.Type},
		{name: "reason", text: r.Reason},
		{name: "explanation", text: r.Explanation},
		{name: "client_id", text: r.ClientID},
		{name: "subject", text: r.Subject},
		{name: "grant_id", text: r.GrantID},
		{name: "source", text: r.Source},
		{name: "detail", text: r.Detail},
		{name: "count", text: strconv.Itoa(r.Count)},
		{name: "last_at", text: r.LastAt.String()},
	}
}

// explanations say what each reason of the catalogue of refusals means, and what to do.
var explanations = map[string]string{
	"method_not_allowed":        "The endpoint was called with another HTTP method than it has.",
	"not_found":                 "There is no endpoint at this path.",
	"body_too_large":            "The body of the request was longer than any token request needs.",
	"uri_too_long":              "The address had more than 8 KiB.",
	"body_malformed":            "The body of the request could not be read as its Content-Type says.",
	"media_type_unsupported":    "The Content-Type of the request is none that the endpoint reads.",
	"header_repeated":           "A header was sent twice, so that it was unclear which one counts.",
	"parameter_repeated":        "A parameter was sent twice, so that it was unclear which one counts.",
	"parameter_in_query":        "A parameter was sent in the URL, where it ends up in logs: send it in the body.",
	"parameter_invalid":         "A parameter was missing, or of the wrong kind.",
	"grant_type_missing":        "The request had no grant_type.",
	"grant_type_unsupported":    "The server does not know this grant_type.",
	"scope_invalid":             "A scope was asked for that the client may not have, or that its grant does not include.",
	"target_invalid":            "A resource was asked for that the grant does not include.",
	"client_methods_mixed":      "The client authenticated in two ways at once: in the header and in the body.",
	"client_unauthenticated":    "The client is unknown, inactive or stopped with its owner, may not use the grant type, or sent a wrong secret.",
	"client_unauthorized":       "The client is not registered for this grant type: see 'client update --grant-type'.",
	"redirect_uri_unknown":      "The request had a redirect_uri that the client is not registered for.",
	"client_unknown":            "A user was sent to the authorization endpoint by a client that is unknown, inactive or stopped with its owner.",
	"response_type_unsupported": "The authorization endpoint gives codes only: response_type must be code.",
	"code_challenge_missing":    "The client must use PKCE (RFC 7636): public ones always, and all at /oauth2/authorize.",
	"code_challenge_method":     "The code_challenge_method must be S256; plain is for some clients at OroCommerce's endpoint.",
	"code_challenge_malformed":  "The code_challenge does not have the form of RFC 7636 section 4.2.",
	"code_challenge_plain":      "The client may not use the code_challenge_method plain: see 'client update --plain-pkce'.",
	"access_denied":             "The user did not agree to what the client asked for.",
	"code_malformed":            "What was presented is no authorization code of this installation.",
	"code_is_refresh_token":     "A refresh token was presented as an authorization code.",
	"code_unknown":              "The authorization code is genuine, but what it stood for is gone: revoked, deleted, or ended with a new password.",
	"code_used":                 "The authorization code was used before: it was stolen, or its client sent it twice. What it had produced was revoked.",
	"code_expired":              "The authorization code was redeemed too late: see authorization_code_lifetime.",
	"code_of_another_client":    "The authorization code was made for another client than the one that presented it.",
	"redirect_uri_missing":      "The code was asked for with a redirect_uri, and was presented without.",
	"redirect_uri_differs":      "The code was asked for with another redirect_uri than it was presented with.",
	"code_verifier_unexpected":  "A code_verifier was sent for a code that was asked for without code_challenge, or the code needs one and had none.",
	"code_verifier_missing":     "The code was asked for with a code_challenge, and was presented without code_verifier.",
	"code_verifier_malformed":   "The code_verifier does not have the form of RFC 7636 section 4.1.",
	"code_verifier_wrong":       "The code_verifier does not belong to the code_challenge: somebody else may have intercepted the code.",
	"session_missing":           "Nobody was signed in.",
	"form_forged":               "A form was sent from another site, or one that is older than the session.",
	"password_weak":             "The new password was too weak.",
	"password_incorrect":        "There is no such user, or the password was wrong.",
	"subject_disabled":          "The user is disabled: see 'user enable'.",
	"subject_locked":            "The user's account is locked: see 'user set-state'.",
	"subject_reset":             "The user's password was reset by an administrator: see 'user set-state'.",
	"throttled":                 "Too many wrong passwords or secrets came from this network; it has to wait.",
	"fault":                     "A fault of the server: the log says which, by the same request id. Nothing was lost, and the client may try again.",
	"canceled":                  "The client hung up before the answer.",
	"busy":                      "More passwords were being checked than the server has time for: see password_concurrency and password_queue.",
	"refresh_token_malformed":   "What was presented is no refresh token of this installation: cut off, changed, or made under another master key.",
	"grant_unknown":             "The refresh token is genuine, but its grant has been deleted: with its user or client, or by the clean-up.",
	"grant_of_another_client":   "The refresh token belongs to another client than the one that presented it.",
	"grant_expired":             "The grant has ended: it was not refreshed in time, or has reached its absolute lifetime.",
	"subject_gone":              "The user of the grant was deleted.",
	"grant_revoked":             "The grant was revoked before: by an administrator, by its client, by a new password or after a replay. See 'grant show'.",
	"key_binding_mismatch":      "The grant is bound to a key, and the request proved another one or none.",
	"generation_unknown":        "The refresh token is genuine and newer than the database knows: the database has lost acknowledged writes, as after restoring an old copy.",
	"history_forked":            "The refresh token is genuine and does not fit the database's history: two copies of the database were in use. The grant was revoked.",
	"replay":                    "A refresh token was used again after its time: it was stolen, or its client keeps using an old one. The grant was revoked.",
	"straggler":                 "A refresh token older than the last but one came just after a refresh, as a delayed duplicate does. Nothing was revoked.",
	"retry_budget_spent":        "The same refresh token was sent too often without its successor being used. Nothing was revoked.",
	"access_token_missing":      "The request to a protected resource had no access token.",
	"access_token_invalid":      "The access token is expired, revoked, of an older generation, or not of this server.",
	"scope_insufficient":        "A gateway demands more scope than the access token has.",
}
