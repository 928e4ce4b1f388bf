package main

import (
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/oauth"
)

// The functions below read the values of members. Their errors go on after the name of
// the member, and do not repeat the value: it may be a secret in the wrong place.

func textMember(text *string, value any) error {
	switch v := value.(type) {
	case string:
		*text = v
	case csvCell:
		*text = string(v)
	case json.Number:
		*text = v.String()
	default:
		return errors.New("is not a text")
	}
	return nil
}

// truthMember reads a truth value as JSON, PostgreSQL or PHP writes it.
func truthMember(truth *bool, value any) error {
	if v, ok := value.(bool); ok {
		*truth = v
		return nil
	}
	var text string
	err := textMember(&text, value)
	switch strings.ToLower(text) {
	case "t", "true", "1":
		*truth = true
	case "f", "false", "0":
		*truth = false
	default:
		err = errors.New("is not a truth value: it is true or false, t or f, 1 or 0")
	}
	return err
}

func untruthMember(untruth *bool, value any) error {
	var truth bool
	err := truthMember(&truth, value)
	*untruth = !truth
	return err
}

// listMember reads a JSON array of texts, or one text with commas or spaces between
// them, as OroCommerce keeps lists.
func listMember(list *[]string, value any) error {
	array, ok := value.([]any)
	if !ok {
		var text string
		if textMember(&text, value) != nil {
			return errors.New("is not a list")
		}
		*list = strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
		return nil
	}
	*list = make([]string, len(array))
	for i, element := range array {
		text, ok := element.(string)
		if !ok {
			return errors.New("is not a list of texts")
		}
		(*list)[i] = text
	}
	return nil
}

// scopeMember reads a scope: in JSON its text has spaces only (RFC 6749 section 3.3).
func scopeMember(scope *oauth.Scope, value any) error {
	if text, ok := value.(string); ok {
		*scope = oauth.ParseScope(text)
		return nil
	}
	return listMember((*[]string)(scope), value)
}

// durationMember reads a number of seconds, or a duration as the flags take it.
func durationMember(d *time.Duration, value any) error {
	var text string
	if err := textMember(&text, value); err != nil {
		return errors.New("is not a duration: it is a number of seconds, or such as 1h30m")
	}
	if strings.Trim(text, "0123456789.") == "" {
		text += "s" // a number of seconds may be broken
	}
	if err := (*durationFlag)(d).Set(text); err != nil {
		return errors.New("is not a duration: it is a number of seconds, or such as 1h30m")
	}
	return nil
}

func windowMember(window **time.Duration, value any) error {
	*window = new(time.Duration)
	return durationMember(*window, value)
}

// stateMember reads the state of an account, as it is or as OroCommerce 6.1 keeps it:
// auth_status.reset of a user, cu_auth_status.reset of a customer user.
func stateMember(state *oauth.SubjectState, value any) error {
	var text string
	err := textMember(&text, value)
	switch s := oauth.SubjectState(strings.TrimPrefix(strings.TrimPrefix(text, "cu_"), "auth_status.")); s {
	case oauth.SubjectActive, oauth.SubjectLocked, oauth.SubjectReset:
		*state = s
	default:
		err = errors.New("is none of active, locked and reset")
	}
	return err
}
