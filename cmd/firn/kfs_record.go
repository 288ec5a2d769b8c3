package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/firn-io/firn/kfs/inspect"
)

// recordLine is a record as a line of JSON. Bytes that are no UTF-8 are in the field with base64 instead.
type recordLine struct {
	Topic       string       `json:"topic"`
	TopicID     string       `json:"topic_id,omitempty"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   int64        `json:"timestamp"`
	Key         *string      `json:"key"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []headerLine `json:"headers,omitempty"`
}

type headerLine struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

// recordPrinter prints each record as it comes, so that a reader of a pipe sees it.
func recordPrinter(out io.Writer, format string) (func(*inspect.Record) error, error) {
	switch format {
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		return func(r *inspect.Record) error { return encoder.Encode(lineOf(r)) }, nil
	case "value":
		w := bufio.NewWriter(out)
		return func(r *inspect.Record) error {
			w.Write(r.Value) // a writer with a buffer keeps its first error
			w.WriteByte('\n')
			return w.Flush()
		}, nil
	}
	return nil, fmt.Errorf("--format: %q is neither json nor value", format)
}

func lineOf(r *inspect.Record) recordLine {
	line := recordLine{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp}
	if !r.TopicID.IsZero() {
		line.TopicID = r.TopicID.String()
	}
	line.Key, line.KeyBase64 = text(r.Key)
	line.Value, line.ValueBase64 = text(r.Value)
	for key, value := range r.Headers.All() {
		h := headerLine{Key: string(key)}
		h.Value, h.ValueBase64 = text(value)
		line.Headers = append(line.Headers, h)
	}
	return line
}

// text gives b as text if it is that, nothing for null, else the bytes.
func text(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	return nil, b
}
