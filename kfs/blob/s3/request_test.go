package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/firn-io/firn/kfs/blob"
)

// server plays a store: it gets each request with its number, from 0.
type server struct {
	answer   func(n int, r *http.Request) (*http.Response, error)
	requests []*http.Request
}

func (f *server) Do(r *http.Request) (*http.Response, error) {
	f.requests = append(f.requests, r)
	response, err := f.answer(len(f.requests)-1, r)
	if response != nil {
		response.Request = r
	}
	return response, err
}

const date = "Mon, 23 Nov 2026 10:11:12 GMT"

var dateTime = time.Date(2026, 11, 23, 10, 11, 12, 0, time.UTC)

// reply makes an answer with a Date; headers are name and value by turns, and an empty value removes one.
func reply(status int, body string, headers ...string) *http.Response {
	r := &http.Response{
		StatusCode: status, Status: http.StatusText(status), ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)),
	}
	r.Header.Set("Date", date)
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	for i := 0; i < len(headers); i += 2 {
		if r.Header.Set(headers[i], headers[i+1]); headers[i+1] == "" {
			r.Header.Del(headers[i])
		}
	}
	return r
}

func refusal(status int, code string, headers ...string) *http.Response {
	if code == "" {
		return reply(status, "", headers...)
	}
	return reply(status, "<Error><Code>"+code+"</Code><Message>the message</Message></Error>", headers...)
}

// play opens a Store on a server, with credentials but no network.
func play(t *testing.T, answer func(n int, r *http.Request) (*http.Response, error)) (*Store, *server) {
	t.Helper()
	f := &server{answer: answer}
	cfg := found()
	cfg.HTTPClient = f
	cfg.RetryMaxAttempts = 9 // as AWS_MAX_ATTEMPTS sets it; it must not touch conditional Puts
	return open(t, Config{Bucket: bucket, Endpoint: "http://store.test:9000"}, cfg), f
}

// verbs does one request of each kind.
var verbs = map[string]func(ctx context.Context, s *Store) (blob.Info, error){
	"get": func(ctx context.Context, s *Store) (blob.Info, error) {
		_, info, err := s.Get(ctx, "dir/object", blob.All)
		return info, err
	},
	"put": func(ctx context.Context, s *Store) (blob.Info, error) {
		return s.Put(ctx, "dir/object", []byte("body"), false)
	},
	"put if absent": func(ctx context.Context, s *Store) (blob.Info, error) {
		return s.Put(ctx, "dir/object", []byte("body"), true)
	},
	"list": func(ctx context.Context, s *Store) (blob.Info, error) {
		for page, err := range s.List(ctx, "dir/", "") {
			return blob.Info{ServerTime: page.ServerTime}, err
		}
		return blob.Info{}, errors.New("no page")
	},
	"delete": func(ctx context.Context, s *Store) (blob.Info, error) {
		return blob.Info{}, s.Delete(ctx, "dir/object")
	},
	"copy": func(ctx context.Context, s *Store) (blob.Info, error) {
		return s.Copy(ctx, s, "dir/object", "dir/copy")
	},
}

func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := []struct {
			verb    string
			status  int
			code    string
			headers []string
			want    error  // nil: none that callers know
			says    string // what the user reads
		}{
			{verb: "get", status: 404, code: "NoSuchKey", want: blob.ErrNotFound},
			{verb: "get", status: 404, code: "NotFound", want: blob.ErrNotFound},
			{verb: "get", status: 404, code: "NoSuchBucket", says: "bucket firn-test does not exist at http://store.test:9000"},
			{verb: "get", status: 404, code: "SomethingElse"},
			{verb: "get", status: 403, code: "AccessDenied", says: "s3:GetObject"},
			{verb: "get", status: 403, code: "InvalidAccessKeyId", says: "AWS_ACCESS_KEY_ID"},
			{verb: "get", status: 403, code: "SignatureDoesNotMatch", says: "AWS_SECRET_ACCESS_KEY"},
			{verb: "get", status: 403, code: "RequestTimeTooSkewed", says: "clock"},
			{verb: "get", status: 301, code: "PermanentRedirect", headers: []string{"X-Amz-Bucket-Region", "eu-west-3"}, says: "region=eu-west-3"},
			{verb: "get", status: 400, code: "AuthorizationHeaderMalformed", says: "another region"},
			{verb: "get", status: 416, code: "InvalidRange", want: blob.ErrRange},
			{verb: "get", status: 412, code: "PreconditionFailed"},
			{verb: "get", status: 500, code: "InternalError"},
			{verb: "put", status: 412, code: "PreconditionFailed"}, // it asked for none
			{verb: "put", status: 404, code: "NoSuchBucket", says: "create it"},
			{verb: "put", status: 404, code: "NoSuchKey"},
			{verb: "put if absent", status: 412, code: "PreconditionFailed", want: blob.ErrPrecondition},
			{verb: "put if absent", status: 412, code: "", want: blob.ErrPrecondition},
			{verb: "put if absent", status: 409, code: "OperationAborted"},
			{verb: "put if absent", status: 501, code: "NotImplemented", says: "If-None-Match"},
			{verb: "put if absent", status: 400, code: "XAmzContentSHA256Mismatch", says: "sign_payload=true"},
			{verb: "put if absent", status: 500, code: "InternalError"},
			{verb: "put if absent", status: 503, code: "SlowDown"},
			{verb: "list", status: 404, code: "NoSuchBucket", says: "does not exist"},
			{verb: "list", status: 404, code: "NoSuchKey"},
			{verb: "delete", status: 403, code: "AccessDenied", says: "s3:DeleteObject"},
			{verb: "copy", status: 404, code: "NoSuchKey", want: blob.ErrNotFound},
			{verb: "copy", status: 404, code: "NoSuchBucket", says: "does not exist"},
		}
		for _, test := range tests {
			s, _ := play(t, func(int, *http.Request) (*http.Response, error) {
				return refusal(test.status, test.code, test.headers...), nil
			})
			info, err := verbs[test.verb](t.Context(), s)
			for _, known := range []error{blob.ErrNotFound, blob.ErrPrecondition, blob.ErrRange} {
				if errors.Is(err, known) != (known == test.want) {
					t.Errorf("%s %d %s: %v", test.verb, test.status, test.code, err)
				}
			}
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "s3://firn-test/dir/") {
				t.Errorf("%s %d %s does not say %q: %v", test.verb, test.status, test.code, test.says, err)
			}
			if test.verb != "delete" && !info.ServerTime.Equal(dateTime) {
				t.Errorf("%s %d %s: server time %v", test.verb, test.status, test.code, info.ServerTime)
			}
		}
	})
}

func TestDeleteOfNothing(t *testing.T) {
	s, _ := play(t, func(int, *http.Request) (*http.Response, error) { return refusal(404, "NoSuchKey"), nil })
	if err := s.Delete(t.Context(), "object"); err != nil {
		t.Error(err)
	}
}

// TestTries counts how often a request is sent when all its tries fail.
func TestTries(t *testing.T) {
	faults := map[string]func() (*http.Response, error){
		"connection lost": func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"no connection":   func() (*http.Response, error) { return nil, errors.New("connection refused") },
		"500":             func() (*http.Response, error) { return refusal(500, "InternalError"), nil },
		"502":             func() (*http.Response, error) { return refusal(502, ""), nil },
		"503":             func() (*http.Response, error) { return refusal(503, "SlowDown"), nil },
		"504":             func() (*http.Response, error) { return refusal(504, ""), nil },
		"409":             func() (*http.Response, error) { return refusal(409, "ConditionalRequestConflict"), nil },
		"412":             func() (*http.Response, error) { return refusal(412, "PreconditionFailed"), nil },
	}
	want := map[string]map[string]int{
		"get":           {"connection lost": tries, "no connection": tries, "500": tries, "502": tries, "503": tries, "504": tries, "409": 1, "412": 1},
		"list":          {"connection lost": tries, "no connection": tries, "500": tries, "502": tries, "503": tries, "504": tries, "409": 1, "412": 1},
		"put":           {"connection lost": 1, "no connection": 1, "500": tries, "502": 1, "503": tries, "504": 1, "409": 1, "412": 1},
		"delete":        {"connection lost": 1, "no connection": 1, "500": tries, "502": 1, "503": tries, "504": 1, "409": 1, "412": 1},
		"copy":          {"connection lost": 1, "no connection": 1, "500": tries, "502": 1, "503": tries, "504": 1, "409": 1, "412": 1},
		"put if absent": {"connection lost": 1, "no connection": 1, "500": 1, "502": 1, "503": 1, "504": 1, "409": conflictTries, "412": 1},
	}
	synctest.Test(t, func(t *testing.T) {
		for verb, do := range verbs {
			for name, fault := range faults {
				s, f := play(t, func(int, *http.Request) (*http.Response, error) { return fault() })
				if _, err := do(t.Context(), s); err == nil {
					t.Errorf("%s, %s: no error", verb, name)
				}
				if len(f.requests) != want[verb][name] {
					t.Errorf("%s, %s: sent %d times, want %d", verb, name, len(f.requests), want[verb][name])
				}
			}
		}
	})
}

func TestConflictPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for status, want := range map[int]error{200: nil, 412: blob.ErrPrecondition} {
			var bodies []string
			s, f := play(t, func(n int, r *http.Request) (*http.Response, error) {
				b, _ := io.ReadAll(r.Body)
				bodies = append(bodies, string(b))
				if n < 3 {
					return refusal(409, "ConditionalRequestConflict"), nil
				}
				return reply(status, ""), nil
			})
			if _, err := verbs["put if absent"](t.Context(), s); !errors.Is(err, want) {
				t.Errorf("%d: %v", status, err)
			}
			if len(f.requests) != 4 || strings.Join(bodies, " ") != "body body body body" {
				t.Errorf("%d: sent %q", status, bodies)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		s, f := play(t, func(int, *http.Request) (*http.Response, error) {
			cancel()
			return refusal(409, "ConditionalRequestConflict"), nil
		})
		if _, err := verbs["put if absent"](ctx, s); !errors.Is(err, context.Canceled) || len(f.requests) != 1 {
			t.Errorf("%v after %d requests", err, len(f.requests))
		}
	})
}

func TestReadsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := play(t, func(n int, r *http.Request) (*http.Response, error) {
			if n < tries-1 {
				return nil, io.ErrUnexpectedEOF
			}
			return reply(200, "hello", "ETag", `"v1"`, "Last-Modified", date), nil
		})
		got, info, err := blob.ReadAll(t.Context(), s, "object", blob.All, 100)
		if err != nil || string(got) != "hello" || info.Version != `"v1"` || !info.Modified.Equal(dateTime) || len(f.requests) != tries {
			t.Errorf("%q, %+v, %v after %d requests", got, info, err, len(f.requests))
		}
	})
}

func TestNoDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const list = "<ListBucketResult></ListBucketResult>"
		for verb, do := range verbs {
			if verb == "delete" {
				continue // its time is of no use to anybody
			}
			for _, status := range []int{200, 404, 412} {
				for _, value := range []string{"", "yesterday"} {
					s, _ := play(t, func(int, *http.Request) (*http.Response, error) {
						switch {
						case status == 404:
							return refusal(404, "NoSuchKey", "Date", value), nil
						case status == 412:
							return refusal(412, "PreconditionFailed", "Date", value), nil
						case verb == "list":
							return reply(200, list, "Date", value), nil
						case verb == "copy":
							return reply(200, "<CopyObjectResult></CopyObjectResult>", "Date", value), nil
						}
						return reply(200, "", "Date", value), nil
					})
					if _, err := do(t.Context(), s); !errors.Is(err, errNoDate) || errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrPrecondition) {
						t.Errorf("%s %d with the date %q: %v", verb, status, value, err)
					}
				}
			}
		}
	})
}

// TestSilence: a store that does not answer ends a request, and the error is not taken for the caller's own cancelling.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for verb, do := range verbs {
			s, _ := play(t, func(_ int, r *http.Request) (*http.Response, error) {
				<-r.Context().Done()
				return nil, r.Context().Err()
			})
			begin := time.Now()
			_, err := do(t.Context(), s)
			if reason := (silence{}); !errors.As(err, &reason) || errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", verb, err)
			}
			if d := time.Since(begin); d != requestTimeout && !(verb == "copy" && d == copyTimeout) {
				t.Errorf("%s: gave up after %v", verb, d)
			}
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := do(ctx, s); !errors.Is(err, context.Canceled) {
				t.Errorf("%s, cancelled: %v", verb, err)
			}
		}
	})
}

// slowBody gives a byte after each pause until its context ends.
type slowBody struct {
	ctx   context.Context
	pause time.Duration
	left  int
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(b.pause):
		b.left--
		p[0] = 'x'
		return 1, nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

func (b *slowBody) Close() error { return nil }

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, test := range []struct {
			pause time.Duration
			ok    bool
		}{{requestTimeout - time.Second, true}, {requestTimeout + time.Second, false}} {
			s, _ := play(t, func(_ int, r *http.Request) (*http.Response, error) {
				answer := reply(200, "xxxxx")
				answer.Body = &slowBody{r.Context(), test.pause, 5}
				return answer, nil
			})
			body, _, err := s.Get(t.Context(), "object", blob.All)
			if err != nil {
				t.Fatal(err)
			}
			one := make([]byte, 1)
			for range 5 {
				if _, err = body.Read(one); err != nil {
					break
				}
				time.Sleep(2 * requestTimeout) // the caller's own slowness does not count; this is the bubble's clock
			}
			if reason := (silence{}); test.ok != (err == nil) || !test.ok && !errors.As(err, &reason) {
				t.Errorf("a byte each %v: %v", test.pause, err)
			}
			if err := body.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestPutRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, signed := range []bool{false, true} {
			for _, ifAbsent := range []bool{false, true} {
				var got []byte
				s, f := play(t, func(_ int, r *http.Request) (*http.Response, error) {
					got, _ = io.ReadAll(r.Body)
					return reply(200, "", "ETag", `"v"`), nil
				})
				s.signed = signed
				body := bytes.Repeat([]byte("123456789"), 1<<18)
				info, err := s.Put(t.Context(), "a b/c+d", body, ifAbsent)
				if err != nil || info.Size != int64(len(body)) || info.Version != `"v"` || !info.ServerTime.Equal(dateTime) || !bytes.Equal(got, body) {
					t.Fatalf("%+v, %v", info, err)
				}
				h := f.requests[0].Header
				if got := f.requests[0].URL.String(); !strings.HasPrefix(got, "http://store.test:9000/firn-test/a%20b/c%2Bd") {
					t.Errorf("sent to %s", got)
				}
				if got := h.Get("If-None-Match"); (got == "*") != ifAbsent {
					t.Errorf("If-None-Match: %q", got)
				}
				if got := h.Get("X-Amz-Content-Sha256"); (got == "UNSIGNED-PAYLOAD") == signed || got == "" {
					t.Errorf("X-Amz-Content-Sha256: %q", got)
				}
				if h.Get("Expect") != "" || h.Get("X-Amz-Trailer") != "" || h.Get("X-Amz-Checksum-Crc32") != "" {
					t.Errorf("headers %v", h)
				}
				if got, want := h.Get("X-Amz-Checksum-Crc32c"), checksum(body); got != want {
					t.Errorf("checksum %q, want %q", got, want)
				}
			}
		}
		if got := checksum([]byte("123456789")); got != "4waSgw==" { // the check value of CRC-32C, e3069283
			t.Errorf("checksum %q", got)
		}
	})
}

func TestOddAnswersToGet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tests := []struct {
			name    string
			r       blob.Range
			answers []*http.Response
			want    string // empty: an error
		}{
			{"a range that is the whole", blob.Bytes(0, 5), []*http.Response{reply(200, "hello")}, "hello"},
			{"a range that is ignored", blob.Bytes(1, 3), []*http.Response{reply(200, "hello")}, ""},
			{"another range", blob.Bytes(1, 3), []*http.Response{reply(206, "hel", "Content-Range", "bytes 0-2/5")}, ""},
			{"a range that begins elsewhere", blob.Bytes(1, 3), []*http.Response{reply(206, "ell", "Content-Range", "bytes 0-3/5")}, ""},
			{"fewer bytes than the range", blob.Bytes(1, 3), []*http.Response{reply(206, "el", "Content-Range", "bytes 1-3/5")}, ""},
			{"no range", blob.Bytes(1, 3), []*http.Response{reply(206, "ell", "Content-Range", "bytes all")}, ""},
			{"an absurd size", blob.Bytes(1, 3), []*http.Response{reply(206, "ell", "Content-Range", "bytes 1-3/2")}, ""},
			{"a cut range", blob.Bytes(3, 9), []*http.Response{reply(206, "lo", "Content-Range", "bytes 3-4/5")}, "lo"},
			{"a suffix longer than the object", blob.Last(9), []*http.Response{refusal(416, "InvalidRange"), reply(200, "hello")}, "hello"},
			{"a suffix that is never given", blob.Last(3), []*http.Response{refusal(416, "InvalidRange"), reply(200, "hello")}, ""},
			{"a suffix of what is gone", blob.Last(3), []*http.Response{refusal(416, "InvalidRange"), refusal(404, "NoSuchKey")}, ""},
		}
		for _, test := range tests {
			s, _ := play(t, func(n int, _ *http.Request) (*http.Response, error) { return test.answers[n], nil })
			got, _, err := blob.ReadAll(t.Context(), s, "object", test.r, 100)
			if (err == nil) != (test.want != "") || string(got) != test.want {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
		}
	})
}

func TestOddAnswersToList(t *testing.T) {
	list := func(t *testing.T, body string) (keys []string, pages int, err error) {
		s, _ := play(t, func(n int, r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("continuation-token") == "more" {
				body = "<Contents><Key>dir/z</Key></Contents>"
			}
			return reply(200, "<ListBucketResult>"+body+"</ListBucketResult>"), nil
		})
		for page, e := range s.List(t.Context(), "dir/", "dir/b\x00") {
			pages++
			err = e
			for _, o := range page.Objects {
				keys = append(keys, o.Key)
			}
		}
		return keys, pages, err
	}
	synctest.Test(t, func(t *testing.T) {
		keys, pages, err := list(t, "<Contents><Key>dir/</Key></Contents><Contents><Key>dir/b</Key></Contents><Contents><Key>dir//c</Key></Contents>"+
			"<Contents><Key>dir/d</Key></Contents><IsTruncated>true</IsTruncated><NextContinuationToken>more</NextContinuationToken>")
		if got := strings.Join(keys, " "); got != "dir/d dir/z" || pages != 2 || err != nil {
			t.Errorf("%q on %d pages, %v", got, pages, err)
		}
		for _, body := range []string{"<IsTruncated>true</IsTruncated>", "<Contents><Key>elsewhere</Key></Contents>", "<Contents><Key>no end"} {
			if keys, _, err := list(t, body); err == nil {
				t.Errorf("%s: %q, and no error", body, keys)
			}
		}
	})
}

func TestHosts(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		cfg      Config
		endpoint string // as the SDK finds it
		want     string
	}{
		{Config{Region: "eu-west-3"}, "", "https://firn-test.s3.eu-west-3.amazonaws.com/object"},
		{Config{Region: "eu-west-3", PathStyle: &yes}, "", "https://s3.eu-west-3.amazonaws.com/firn-test/object"},
		{Config{Endpoint: "http://minio:9000"}, "", "http://minio:9000/firn-test/object"},
		{Config{Endpoint: "http://minio:9000", PathStyle: &no}, "", "http://firn-test.minio:9000/object"},
		{Config{}, "http://found:9000", "http://found:9000/firn-test/object"},
		{Config{Endpoint: "http://minio:9000"}, "http://found:9000", "http://minio:9000/firn-test/object"},
	}
	for _, test := range tests {
		f := &server{answer: func(int, *http.Request) (*http.Response, error) { return reply(200, ""), nil }}
		cfg := found()
		cfg.HTTPClient = f
		if test.endpoint != "" {
			cfg.BaseEndpoint = aws.String(test.endpoint)
		}
		test.cfg.Bucket = bucket
		if _, _, err := open(t, test.cfg, cfg).Get(t.Context(), "object", blob.All); err != nil {
			t.Fatal(err)
		}
		got, _, _ := strings.Cut(f.requests[0].URL.String(), "?")
		if got != test.want {
			t.Errorf("%+v: %s, want %s", test.cfg, got, test.want)
		}
	}
	if _, err := New(Config{Bucket: bucket}, found()); err == nil || !strings.Contains(err.Error(), "AWS_REGION") {
		t.Errorf("without a region: %v", err)
	}
}
