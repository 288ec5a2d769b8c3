package catalog

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog/rest"

	"github.com/firn-io/firn/kfs/redacted"
)

// checkREST says what is wrong with the places that properties name.
func checkREST(props map[string]string) error {
	var errs []error
	for _, key := range []string{"uri", "oauth2-server-uri"} {
		value, given := props[key]
		u, err := url.Parse(value)
		if (given || key == "uri") && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			errs = append(errs, fmt.Errorf("%s is %q: write https://host/path", key, redacted.URL(value)))
		}
	}
	return errors.Join(errs...)
}

// openREST opens an Iceberg REST catalog. Its properties: uri, warehouse, credential, token, scope, prefix, oauth2-server-uri,
// header.NAME (a header on every request; an empty value takes away one that the client would send), and whatever the tables'
// storage asks for (s3.endpoint, …).
func openREST(ctx context.Context, name string, props map[string]string) (*Catalog, error) {
	var opts []rest.Option
	headers := map[string]string{}
	storage := iceberg.Properties{}
	for key, value := range props {
		header, isHeader := strings.CutPrefix(key, "header.")
		switch {
		case isHeader:
			headers[header] = value
		case key == "warehouse":
			opts = append(opts, rest.WithWarehouseLocation(value))
		case key == "credential":
			opts = append(opts, rest.WithCredential(value))
		case key == "token":
			opts = append(opts, rest.WithOAuthToken(value))
		case key == "scope":
			opts = append(opts, rest.WithScope(value))
		case key == "prefix":
			opts = append(opts, rest.WithPrefix(value))
		case key == "oauth2-server-uri":
			u, err := url.Parse(value)
			if err != nil {
				return nil, fmt.Errorf("oauth2-server-uri: %w", redacted.ParseError(err))
			}
			opts = append(opts, rest.WithAuthURI(u))
		case key != "uri" && value != "":
			storage[key] = value
		}
	}
	if len(headers) > 0 {
		opts = append(opts, rest.WithHeaders(headers))
	}
	opts = append(opts, rest.WithAdditionalProps(storage), rest.WithTransportFactory(transport))
	client, err := rest.NewCatalog(ctx, name, props["uri"], opts...)
	if err != nil {
		return nil, err
	}
	return &Catalog{client: client, closers: []io.Closer{client}}, nil
}

// idleConnections bounds the connections to a REST catalog that are kept for the next request: several tables ask at the same time.
const idleConnections = 16

// transport has the time limits for connecting that Go's own has and the library's lacks, and one for the beginning of an answer.
func transport(cfg *tls.Config) (http.RoundTripper, func()) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = cfg
	t.MaxIdleConnsPerHost = idleConnections
	t.ResponseHeaderTimeout = requestTimeout
	return t, t.CloseIdleConnections
}
