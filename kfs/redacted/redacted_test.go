package redacted

import (
	"net/url"
	"strings"
	"testing"
)

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"/data/store":                   "/data/store",
		"/data/a@b:c":                   "/data/a@b:c",
		"/data/100%":                    "/data/100%",
		"file:///data/store":            "file:///data/store",
		"sqlite:////a/catalog.db":       "sqlite:////a/catalog.db",
		"s3://bucket/ns":                "s3://bucket/ns",
		"s3://u:pw@bucket/ns":           "s3://u:xxxxx@bucket/ns",
		"s3://bucket/a%20b?region=x":    "s3://bucket/a%20b?region=x",
		"s3://b?x=%zz":                  "s3://b?x=xxxxx",
		"postgresql://u:pw@host/db":     "postgresql://u:xxxxx@host/db",
		"s3:u:pw@bucket":                "s3:…",
		"u:pw@host:9000":                "u:…",
		"1:pw@host:9000":                "…",
		"http://u:/pw@host/":            "http:…",
		"s3://bucket/a@b":               "s3://bucket/a@b",
		"http://u:p%zzw@host/":          "http://…",
		"http://u:pw#x@host/":           "http://…",
		"http://u:12#pw@host/":          "http:…",
		"s3://b?endpoint=http://h:9000": "s3://b?endpoint=http://h:9000",
		"s3://b?endpoint=http://u:pw@h:9000&region=eu": "s3://b?endpoint=http://u:xxxxx@h:9000&region=eu",
		"s3://b?endpoint=http%3A%2F%2Fu%3Apw%40h":      "s3://b?endpoint=http://u:xxxxx@h",
		"s3://b?endpoint=u:pw@h:9000":                  "s3://b?endpoint=xxxxx",
		"s3://b?endpoint=http://u:1&x=pw@h":            "s3://b?endpoint=http://u:1&x=xxxxx",
		"s3://b?endpoint=http://u:p&w@h":               "s3://b?…",
		"s3://b?endpoint=http://u:p?w@h":               "s3://b?endpoint=http://…",
		"s3://b?endpoint=http://h?token=pw":            "s3://b?endpoint=http://h?token=xxxxx",
		"s3://b?secret_access_key=pw&region=eu":        "s3://b?secret_access_key=xxxxx&region=eu",
		"s3://b?X-Amz-Signature=pw&Password=pw":        "s3://b?X-Amz-Signature=xxxxx&Password=xxxxx",
	} {
		if got := URL(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestParseError(t *testing.T) {
	for text, want := range map[string]string{
		"http://u:pw#x@host": "invalid port",
		"http://u:p%zz@host": "invalid URL escape \"%zz\"",
		"http://u:p w@host/": "net/url: invalid userinfo",
		"://u:pw@host":       "missing protocol scheme",
	} {
		if _, err := url.Parse(text); err == nil || ParseError(err).Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// FuzzURL: a password is never shown, wherever in a URL another URL has it, and however it is written.
func FuzzURL(f *testing.F) {
	for _, password := range []string{"pw", "p@w", "p:w", "p/w", "p?w", "p#w", "p&w", "p%w", "p=w", "1", "%41", ";", "+"} {
		f.Add(password)
	}
	f.Fuzz(func(t *testing.T, password string) {
		const mark = "Q7QkZ"
		for _, text := range []string{
			"http://user:" + password + mark + "@host/path", "s3://bucket?endpoint=http://user:" + password + mark + "@host", "s3://bucket/ns?token=" + mark,
			"s3://bucket?region=x&endpoint=https://user:" + mark + "@host:9000/" + "&path_style=true",
		} {
			if got := URL(text); strings.Contains(got, mark) {
				t.Errorf("%s shows %s", text, got)
			}
		}
	})
}
