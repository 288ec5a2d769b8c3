package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
)

// entryValue is an entry with its type.
type entryValue struct {
	Type  string
	Value kfs.Entry
}

// describeJSON prints what one object holds as one JSON document: the fields of package kfs in snake case.
func describeJSON(out io.Writer, d *inspect.Description) error {
	document := map[string]any{"key": d.Key, "bytes": d.Bytes, "crc": d.CRC}
	switch {
	case d.Object != nil:
		document["object"] = struct {
			*kfs.Manifest
			Entries []entryValue
		}{d.Object, entryValues(d.Object.Entries)}
	case d.Checkpoint != nil:
		document["checkpoint"] = struct {
			*kfs.Checkpoint
			Metadata []entryValue
		}{d.Checkpoint, entryValues(d.Checkpoint.Metadata)}
	case d.Page != nil:
		document["page"] = d.Page
	case d.Segment != nil:
		document["segment"] = d.Segment
	case d.Index != nil:
		document["index"] = d.Index
	}
	body, err := json.Marshal(document)
	if err != nil {
		return err
	}
	var tree any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // offsets are 64 bits wide
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(snakeKeys(tree))
}

func entryValues(entries []kfs.Entry) []entryValue {
	values := make([]entryValue, len(entries))
	for i, e := range entries {
		values[i] = entryValue{entryType(e), e}
	}
	return values
}

func entryType(entry kfs.Entry) string {
	switch entry.(type) {
	case kfs.Trim:
		return "trim"
	case kfs.Settled:
		return "settled"
	case kfs.Ended:
		return "ended"
	case kfs.GroupOffsets:
		return "group_offsets"
	case kfs.Cluster:
		return "cluster"
	case kfs.Topic:
		return "topic"
	case kfs.GroupSlot:
		return "group_slot"
	case kfs.ProducerIDs:
		return "producer_ids"
	}
	return fmt.Sprintf("%T", entry)
}

func snakeKeys(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		renamed := make(map[string]any, len(v))
		for key, value := range v {
			renamed[snakeCase(key)] = snakeKeys(value)
		}
		return renamed
	case []any:
		for i := range v {
			v[i] = snakeKeys(v[i])
		}
	}
	return tree
}

// snakeCase turns LogStart into log_start and ObjectCRC into object_crc.
func snakeCase(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		starts := unicode.IsUpper(r) && i > 0 && (unicode.IsLower(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if starts {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
