package s3

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/redacted"
)

// Config says where a bucket is.
type Config struct {
	Bucket string
	// Prefix is what all keys begin with: empty, or ends with a slash.
	Prefix string
	// Endpoint is an http or https URL; empty: as the SDK finds it, mostly Amazon's.
	Endpoint string
	// Region; empty: as the SDK finds it, or us-east-1 where there is an endpoint.
	Region string
	// PathStyle puts the bucket into the path of a request and not into its host name; nil: where there is an endpoint.
	PathStyle *bool
	// SignPayload puts a SHA-256 of each body into the signature, for stores that refuse to do without.
	SignPayload bool
}

// ParseURL reads s3://bucket/prefix?endpoint=…&region=…&path_style=true&sign_payload=true, where all but the bucket may be missing.
func ParseURL(text string) (Config, error) {
	var cfg Config
	u, err := url.Parse(text)
	if err != nil {
		return cfg, fmt.Errorf("store URL: %w", redacted.ParseError(err))
	}
	if u.Scheme != "s3" || u.User != nil || u.Opaque != "" || u.Fragment != "" || u.Port() != "" {
		return cfg, fmt.Errorf("store URL %s: want s3://bucket/prefix?endpoint=…&region=…; credentials are taken from the environment", redacted.URL(text))
	}
	cfg.Bucket = u.Host
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		cfg.Prefix = prefix + "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return cfg, fmt.Errorf("store URL %s: %w", redacted.URL(text), err)
	}
	var problems []error
	for name, values := range query {
		problems = append(problems, cfg.set(name, values))
	}
	problems = append(problems, cfg.Validate())
	if err := errors.Join(problems...); err != nil {
		return cfg, fmt.Errorf("store URL %s: %w", redacted.URL(text), err)
	}
	return cfg, nil
}

func (c *Config) set(name string, values []string) error {
	if len(values) != 1 {
		return fmt.Errorf("%s is given %d times", name, len(values))
	}
	var err error
	value := values[0]
	switch name {
	case "endpoint":
		c.Endpoint = value
	case "region":
		c.Region = value
	case "path_style":
		var style bool
		style, err = strconv.ParseBool(value)
		c.PathStyle = &style
	case "sign_payload":
		c.SignPayload, err = strconv.ParseBool(value)
	default:
		return fmt.Errorf("unknown parameter %s, want endpoint, region, path_style or sign_payload", name)
	}
	if err != nil {
		return fmt.Errorf("%s is %q, want true or false", name, value)
	}
	return nil
}

// Validate reports all that is wrong.
func (c Config) Validate() error {
	var problems []error
	if len(c.Bucket) < 3 || len(c.Bucket) > 63 || strings.Trim(c.Bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != "" {
		problems = append(problems, fmt.Errorf("bucket %q: want 3 to 63 lower-case letters, digits, dots and hyphens", c.Bucket))
	}
	if c.Prefix != "" {
		inner, ok := strings.CutSuffix(c.Prefix, "/")
		if err := blob.CheckKey(inner); err != nil || !ok {
			problems = append(problems, fmt.Errorf("prefix %q: want elements that are followed by one slash each, none empty or of dots", c.Prefix))
		}
	}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			problems = append(problems, fmt.Errorf("endpoint %q: want a URL like https://minio.example.com:9000; credentials are taken from the environment", redacted.URL(c.Endpoint)))
		}
	}
	return errors.Join(problems...)
}
