package oauth

import (
	"errors"
	"time"
)

// Refusal is an answer that the protocol foresees. Its Reason is stable and goes
// to the log, the audit and the metrics; Code is the error code of RFC 6749
// section 5.2 (or the RFC named in the catalogue) and Description the text for
// the client, the same for all cases an attacker must not tell apart.
// Every other error is a fault of the server.
type Refusal struct {
	Reason      string
	Code        string
	Description string
	Parameter   string        // the parameter, or the scope, it is about
	RetryAfter  time.Duration // when the same request may be sent again; 0: no such time
	cause       error
}

// Error implements error. It is for logs, not for the wire.
func (r *Refusal) Error() string {
	text := r.Reason
	if r.Parameter != "" {
		text += " (" + r.Parameter + ")"
	}
	if r.cause != nil {
		text += ": " + r.cause.Error()
	}
	return text
}

// Unwrap returns the cause given to Because.
func (r *Refusal) Unwrap() error { return r.cause }

// Is makes two refusals of one reason equal for errors.Is.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Reason == r.Reason
}

// Because returns the same refusal with detail that only the log sees.
func (r *Refusal) Because(err error) error {
	c := *r
	c.cause = err
	return &c
}

// About returns the same refusal, naming the parameter (or scope) it is about.
func (r *Refusal) About(parameter string) error {
	c := *r
	c.Parameter = parameter
	return &c
}

// After returns the same refusal, saying when to come again.
func (r *Refusal) After(d time.Duration) error {
	c := *r
	c.RetryAfter = d
	return &c
}

const (
	badGrant  = "The provided authorization grant or refresh token is invalid, expired or revoked."
	badClient = "Client authentication failed."
	badLogin  = "The user credentials were incorrect."
	badToken  = "The access token is invalid, expired or revoked."
)

// The catalogue: every refusal the server can make, one line each.
var (
	// The request (RFC 6749 sections 3.2 and 5.2).
	ErrMethodNotAllowed      = &Refusal{Reason: "method_not_allowed", Code: "invalid_request", Description: "The method is not allowed here."}
	ErrPathUnknown           = &Refusal{Reason: "not_found", Code: "invalid_request", Description: "There is nothing at this address."}
	ErrURITooLong            = &Refusal{Reason: "uri_too_long", Code: "invalid_request", Description: "The address is too long."}
	ErrBodyTooLarge          = &Refusal{Reason: "body_too_large", Code: "invalid_request", Description: "The request is too large."}
	ErrBodyMalformed         = &Refusal{Reason: "body_malformed", Code: "invalid_request", Description: "The request body is malformed."}
	ErrMediaType             = &Refusal{Reason: "media_type_unsupported", Code: "invalid_request", Description: "The Content-Type must be application/x-www-form-urlencoded or application/json."}
	ErrHeaderRepeated        = &Refusal{Reason: "header_repeated", Code: "invalid_request", Description: "A header that may occur once was repeated."}
	ErrParameterRepeated     = &Refusal{Reason: "parameter_repeated", Code: "invalid_request", Description: "The request includes a parameter more than once."}
	ErrParameterInQuery      = &Refusal{Reason: "parameter_in_query", Code: "invalid_request", Description: "Parameters must be sent in the request body."}
	ErrParameterInvalid      = &Refusal{Reason: "parameter_invalid", Code: "invalid_request", Description: "The request is missing a required parameter or includes an invalid parameter value."}
	ErrGrantTypeMissing      = &Refusal{Reason: "grant_type_missing", Code: "invalid_request", Description: "The request is missing the parameter grant_type."}
	ErrGrantTypeUnsupported  = &Refusal{Reason: "grant_type_unsupported", Code: "unsupported_grant_type", Description: "The authorization grant type is not supported by the authorization server."}
	ErrScopeInvalid          = &Refusal{Reason: "scope_invalid", Code: "invalid_scope", Description: "The requested scope is invalid, unknown, malformed, or exceeds the scope granted."}
	ErrTargetInvalid         = &Refusal{Reason: "target_invalid", Code: "invalid_target", Description: "The requested resource is invalid, unknown, or malformed."} // RFC 8707 section 2
	ErrClientMethodsMixed    = &Refusal{Reason: "client_methods_mixed", Code: "invalid_request", Description: "The request uses more than one method of client authentication."}
	ErrClientUnauthenticated = &Refusal{Reason: "client_unauthenticated", Code: "invalid_client", Description: badClient}
	ErrClientUnauthorized    = &Refusal{Reason: "client_unauthorized", Code: "unauthorized_client", Description: "The client may not use this authorization grant type."}
	ErrRedirectURIUnknown    = &Refusal{Reason: "redirect_uri_unknown", Code: "invalid_client", Description: badClient} // OroCommerce's endpoint only

	// The authorization endpoint (RFC 6749 section 4.1.2.1, RFC 7636 section 4.4.1).
	ErrClientUnknown           = &Refusal{Reason: "client_unknown", Code: "invalid_client", Description: badClient}
	ErrResponseTypeUnsupported = &Refusal{Reason: "response_type_unsupported", Code: "unsupported_response_type", Description: "The authorization server does not support this response type."}
	ErrChallengeMissing        = &Refusal{Reason: "code_challenge_missing", Code: "invalid_request", Description: "A code challenge is required (RFC 7636)."}
	ErrChallengeMethod         = &Refusal{Reason: "code_challenge_method", Code: "invalid_request", Description: "The code challenge method is not supported; use S256."}
	ErrChallengeMalformed      = &Refusal{Reason: "code_challenge_malformed", Code: "invalid_request", Description: "The code challenge is malformed (RFC 7636 section 4.2)."}
	ErrChallengePlain          = &Refusal{Reason: "code_challenge_plain", Code: "invalid_request", Description: "The client may not use the code challenge method plain."}
	ErrAccessDenied            = &Refusal{Reason: "access_denied", Code: "access_denied", Description: "The resource owner denied the request."}

	// The authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
	ErrCodeMalformed       = &Refusal{Reason: "code_malformed", Code: "invalid_grant", Description: badGrant}
	ErrCodeIsRefreshToken  = &Refusal{Reason: "code_is_refresh_token", Code: "invalid_grant", Description: badGrant}
	ErrCodeUnknown         = &Refusal{Reason: "code_unknown", Code: "invalid_grant", Description: badGrant}
	ErrCodeUsed            = &Refusal{Reason: "code_used", Code: "invalid_grant", Description: badGrant}
	ErrCodeExpired         = &Refusal{Reason: "code_expired", Code: "invalid_grant", Description: badGrant}
	ErrCodeOfAnotherClient = &Refusal{Reason: "code_of_another_client", Code: "invalid_grant", Description: badGrant}
	ErrRedirectURIMissing  = &Refusal{Reason: "redirect_uri_missing", Code: "invalid_grant", Description: badGrant}
	ErrRedirectURIDiffers  = &Refusal{Reason: "redirect_uri_differs", Code: "invalid_grant", Description: badGrant}
	ErrVerifierUnexpected  = &Refusal{Reason: "code_verifier_unexpected", Code: "invalid_grant", Description: badGrant}
	ErrVerifierMissing     = &Refusal{Reason: "code_verifier_missing", Code: "invalid_grant", Description: badGrant}
	ErrVerifierMalformed   = &Refusal{Reason: "code_verifier_malformed", Code: "invalid_grant", Description: badGrant}
	ErrVerifierWrong       = &Refusal{Reason: "code_verifier_wrong", Code: "invalid_grant", Description: badGrant}

	// The pages.
	ErrSessionMissing = &Refusal{Reason: "session_missing", Code: "access_denied", Description: "Nobody is signed in."}
	ErrFormForged     = &Refusal{Reason: "form_forged", Code: "access_denied", Description: "The form was not sent by this site, or it is too old."}
	ErrPasswordWeak   = &Refusal{Reason: "password_weak", Code: "invalid_request", Description: "The password is too weak."}

	// The resource owner's password (RFC 6749 section 4.3).
	ErrPasswordIncorrect = &Refusal{Reason: "password_incorrect", Code: "invalid_grant", Description: badLogin}
	ErrSubjectDisabled   = &Refusal{Reason: "subject_disabled", Code: "invalid_grant", Description: badGrant}
	ErrSubjectLocked     = &Refusal{Reason: "subject_locked", Code: "invalid_grant", Description: badGrant}
	ErrSubjectReset      = &Refusal{Reason: "subject_reset", Code: "invalid_grant", Description: badGrant}
	ErrThrottled         = &Refusal{Reason: "throttled", Code: "temporarily_unavailable", Description: "Too many failed attempts. Try again later."} // RFC 6585 section 4
	ErrBusy              = &Refusal{Reason: "busy", Code: "temporarily_unavailable", Description: "The server is busy. Try again later."}

	// The refresh token, in the order of docs/rotation.md.
	ErrRefreshTokenMalformed = &Refusal{Reason: "refresh_token_malformed", Code: "invalid_grant", Description: badGrant} // P0
	ErrGrantUnknown          = &Refusal{Reason: "grant_unknown", Code: "invalid_grant", Description: badGrant}           // P1
	ErrGrantOfAnotherClient  = &Refusal{Reason: "grant_of_another_client", Code: "invalid_grant", Description: badGrant} // P2
	ErrGrantExpired          = &Refusal{Reason: "grant_expired", Code: "invalid_grant", Description: badGrant}           // P3
	ErrSubjectGone           = &Refusal{Reason: "subject_gone", Code: "invalid_grant", Description: badGrant}            // P4
	ErrGrantRevoked          = &Refusal{Reason: "grant_revoked", Code: "invalid_grant", Description: badGrant}           // P6
	ErrKeyBindingMismatch    = &Refusal{Reason: "key_binding_mismatch", Code: "invalid_grant", Description: badGrant}    // P7
	ErrGenerationUnknown     = &Refusal{Reason: "generation_unknown", Code: "invalid_grant", Description: badGrant}      // Y2
	ErrHistoryForked         = &Refusal{Reason: "history_forked", Code: "invalid_grant", Description: badGrant}          // Y1
	ErrReplay                = &Refusal{Reason: "replay", Code: "invalid_grant", Description: badGrant}                  // X1, X2
	ErrStraggler             = &Refusal{Reason: "straggler", Code: "invalid_grant", Description: badGrant}               // X3
	ErrRetryBudgetSpent      = &Refusal{Reason: "retry_budget_spent", Code: "temporarily_unavailable", Description: "This refresh token was retried too often. Try again later."}

	// The access token at a protected resource (RFC 6750 section 3.1).
	ErrAccessTokenMissing = &Refusal{Reason: "access_token_missing"}
	ErrAccessTokenInvalid = &Refusal{Reason: "access_token_invalid", Code: "invalid_token", Description: badToken}
	ErrScopeInsufficient  = &Refusal{Reason: "scope_insufficient", Code: "insufficient_scope", Description: "The request requires more than the access token grants."}
)

// What a Store or a Signer reports besides faults.
var (
	// ErrNotFound: there is no such row.
	ErrNotFound = errors.New("not found")
	// ErrExists: there is such a row already.
	ErrExists = errors.New("exists already")
	// ErrConflict: the row, its subject or its client changed since it was read; nothing was written.
	ErrConflict = errors.New("changed since it was read")
	// ErrKeysUnread: the signing keys could not be read, so nobody knows whether a token is ours.
	ErrKeysUnread = errors.New("the signing keys could not be read")
	// ErrOutcomeUnknown: the write may have happened or may still happen.
	ErrOutcomeUnknown = errors.New("outcome of the write is unknown")
)
