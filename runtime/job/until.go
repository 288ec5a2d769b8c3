package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/pipeline"
)

// ParseUntil reads where a bounded run ends: latest, a time by RFC 3339, or offsets as ParseOffsets reads them.
func ParseUntil(text string, readFile func(name string) ([]byte, error)) (pipeline.Until, error) {
	if text == "latest" {
		return pipeline.Until{Latest: true}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return pipeline.Until{At: at}, nil
	}
	if !strings.ContainsAny(text, "@=") {
		return pipeline.Until{}, fmt.Errorf("%q is neither latest, nor a time like 2026-01-31T12:00:00Z, nor offsets like events:0=1200,events:1=900 or @offsets.json", text)
	}
	offsets, err := ParseOffsets(text, readFile)
	return pipeline.Until{Offsets: offsets}, err
}

// ParseOffsets reads offsets of partitions: topic:partition=offset, separated by commas; or @FILE, which holds them as JSON, by topic and
// partition: {"events": {"0": 1200, "1": 900}}.
func ParseOffsets(text string, readFile func(name string) ([]byte, error)) (pipeline.Offsets, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		return readOffsets(name, readFile)
	}
	offsets := pipeline.Offsets{}
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		place, at, ok := strings.Cut(one, "=")
		topic, partition, placed := strings.Cut(place, ":")
		if !ok || !placed {
			return nil, fmt.Errorf("%q is not an offset of a partition: write topic:partition=offset, like events:0=1200", one)
		}
		offset, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is not an offset", one, at)
		}
		if err := addOffset(offsets, topic, partition, offset); err != nil {
			return nil, fmt.Errorf("%s: %w", one, err)
		}
	}
	return offsets, nil
}

// readOffsets reads the JSON form.
func readOffsets(name string, readFile func(name string) ([]byte, error)) (pipeline.Offsets, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("offsets: %w", err)
	}
	var file once[once[int64]]
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf(`%s: %w: write offsets by topic and partition, like {"events": {"0": 1200, "1": 900}}`, name, err)
	}
	offsets := pipeline.Offsets{}
	for _, topic := range slices.Sorted(maps.Keys(file)) {
		for _, partition := range slices.Sorted(maps.Keys(file[topic])) {
			if err := addOffset(offsets, topic, partition, file[topic][partition]); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	if len(offsets) == 0 {
		return nil, fmt.Errorf("%s: it names no offset", name)
	}
	return offsets, nil
}

// once is a JSON object in which no name stands twice.
type once[V any] map[string]V

// UnmarshalJSON implements json.Unmarshaler.
func (o *once[V]) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if begin, err := d.Token(); err != nil || begin != json.Delim('{') {
		return fmt.Errorf("an object is wanted, not %.20s", text)
	}
	*o = once[V]{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if _, twice := (*o)[name.(string)]; twice {
			return fmt.Errorf("%s stands twice", name)
		}
		var v V
		if err := d.Decode(&v); err != nil {
			return err
		}
		(*o)[name.(string)] = v
	}
	return nil
}

func addOffset(offsets pipeline.Offsets, topic, partition string, offset int64) error {
	if err := kfs.ValidateTopicName(topic); err != nil {
		return err
	}
	p, err := strconv.ParseInt(partition, 10, 32)
	if err != nil {
		return fmt.Errorf("%q is not a partition of %s", partition, topic)
	}
	if _, ok := offsets[topic][int32(p)]; ok {
		return fmt.Errorf("partition %d of %s stands twice", p, topic)
	}
	if offsets[topic] == nil {
		offsets[topic] = map[int32]int64{}
	}
	offsets[topic][int32(p)] = offset
	return nil
}
