// Package redacted shows URLs that may hold secrets as people, logs and messages may have them.
package redacted

import (
	"errors"
	"net/url"
	"strings"
)

const (
	hidden  = "xxxxx" // as url.URL.Redacted has it
	unknown = "…"     // in place of a part of which nobody can say where the secret in it ends
)

// URL is text as it may be seen: a URL without its password, and without those of URLs in its parameters, nor the values of parameters that are
// secrets by their names. What is no URL stays as it is, unless it looks as if it was to be one with a password.
func URL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		if scheme, _, ok := strings.Cut(text, "://"); ok {
			return scheme + "://" + unknown
		}
		return other(text)
	}
	switch {
	case u.Scheme == "" && u.Host == "":
		return other(text)
	case strings.Contains(u.Opaque, "@") || strings.Contains(u.Fragment, "@"),
		(u.User != nil || strings.Contains(u.Host, ":")) && strings.Contains(u.Path, "@"): // what looks like a port may be the begin of a password
		return u.Scheme + ":" + unknown
	case u.User == nil && u.RawQuery == "":
		return text
	}
	u.RawQuery = parameters(u.RawQuery)
	return u.Redacted()
}

// ParseError is an error of url.Parse without what it repeats of the text, but for an escape that is none.
func ParseError(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if escape := url.EscapeError(""); errors.As(err, &escape) {
		return escape
	}
	what, _, _ := strings.Cut(err.Error(), `"`)
	return errors.New(strings.TrimSpace(what))
}

// other is text that is no URL. A path may have an @, but what has a colon before it is a user and his password.
func other(text string) string {
	if before, _, ok := strings.Cut(text, "@"); ok && strings.Contains(before, ":") {
		return unknown
	}
	return text
}

// parameters is a query, in its order. What is in order is left as it was written.
func parameters(query string) string {
	all := strings.Split(query, "&")
	for i, one := range all {
		name, value, _ := strings.Cut(one, "=")
		if strings.Contains(name, "@") {
			return unknown // the rest of a value with an & in it
		}
		plain, err := url.QueryUnescape(value)
		switch {
		case err != nil || secret(name) && value != "" || strings.Contains(plain, "@") && !strings.Contains(plain, "://"):
			all[i] = name + "=" + hidden
		case URL(plain) != plain:
			all[i] = name + "=" + URL(plain)
		}
	}
	return strings.Join(all, "&")
}

// secret reports whether a parameter of that name holds a secret.
func secret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"secret", "token", "pass", "pwd", "credential", "signature", "key", "auth"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
