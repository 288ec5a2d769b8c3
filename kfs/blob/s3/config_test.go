package s3

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		url  string
		want Config
	}{
		{"s3://bucket", Config{Bucket: "bucket"}},
		{"s3://bucket/", Config{Bucket: "bucket"}},
		{"s3://bucket/a", Config{Bucket: "bucket", Prefix: "a/"}},
		{"s3://my.bucket-1/a/b%20c/", Config{Bucket: "my.bucket-1", Prefix: "a/b c/"}},
		{
			"s3://bucket/ns?endpoint=http://127.0.0.1:9000&region=eu-west-3&path_style=false&sign_payload=true",
			Config{Bucket: "bucket", Prefix: "ns/", Endpoint: "http://127.0.0.1:9000", Region: "eu-west-3", PathStyle: &no, SignPayload: true},
		},
		{"s3://bucket?path_style=true", Config{Bucket: "bucket", PathStyle: &yes}},
	}
	for _, test := range tests {
		if got, err := ParseURL(test.url); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v", test.url, got, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	tests := []struct{ url, says string }{
		{"", "want s3://"},
		{"bucket/prefix", "want s3://"},
		{"file:///dir", "want s3://"},
		{"s3:bucket", "want s3://"},
		{"s3://key:secret@bucket", "want s3://"},
		{"s3://bucket:9000", "want s3://"},
		{"s3://bucket#x", "want s3://"},
		{"s3://", `bucket ""`},
		{"s3://Bucket", `bucket "Bucket"`},
		{"s3://bucket/a//b", `prefix "a//b/"`},
		{"s3://bucket/../b", `prefix "../b/"`},
		{"s3://bucket?endpoint=localhost:9000", `endpoint "localhost:9000": want a URL like`},
		{"s3://bucket?endpoint=ftp://x", "endpoint"},
		{"s3://bucket?path_style=maybe", `path_style is "maybe", want true or false`},
		{"s3://bucket?sign_payload=", "sign_payload"},
		{"s3://bucket?regoin=x", "unknown parameter regoin, want endpoint, region"},
		{"s3://bucket?region=a&region=b", "2 times"},
		{"s3://bucket?region=%zz", "%zz"},
		{"s3://b?regoin=x&endpoint=y", `endpoint "y"`}, // everything at once
	}
	for _, test := range tests {
		_, err := ParseURL(test.url)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s does not say %q: %v", test.url, test.says, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("the message gives a secret away: %v", err)
		}
	}
}

// TestParseURLHidesSecrets: whatever is wrong with a URL, the message does not repeat the secrets that somebody has put into it.
func TestParseURLHidesSecrets(t *testing.T) {
	for _, url := range []string{
		"s3://user:SECRET@bucket", "s3://user:SECRET@bucket?regoin=x", "s3:user:SECRET@bucket", "s3://bucket?endpoint=http://user:SECRET@host:9000",
		"s3://bucket?endpoint=http%3A%2F%2Fuser%3ASECRET%40host", "s3://bucket?endpoint=user:SECRET@host", "s3://bucket?secret_access_key=SECRET",
		"s3://bucket?endpoint=http://host?token=SECRET", "s3://u:SECRET%zz@bucket", "s3://u:SECRET#x@bucket", "s3://b?endpoint=http://u:SECRET@host&path_style=perhaps",
	} {
		if _, err := ParseURL(url); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{"s3://bucket", "s3://bucket/a/b?endpoint=http://x:1&region=r&path_style=true&sign_payload=false", "s3://b/%00?x=%zz", "s3:///"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		cfg, err := ParseURL(url)
		if err == nil && (cfg.Validate() != nil || cfg.Bucket == "") {
			t.Errorf("%q was accepted as %+v: %v", url, cfg, cfg.Validate())
		}
	})
}
