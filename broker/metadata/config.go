package metadata

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// Settings are the topic configs that the broker acts on, resolved with their defaults.
type Settings struct {
	MaxMessageBytes int32    // the largest record batch, bytes
	Delete          bool     // cleanup.policy holds delete; else every record is kept
	Keys            bool     // cleanup.policy holds compact: records must have keys
	LogAppendTime   bool     // message.timestamp.type: the broker's time replaces the producer's
	OldestMillis    int64    // message.timestamp.before.max.ms: how far a record's time may lie behind the broker's clock
	NewestMillis    int64    // message.timestamp.after.max.ms: and how far before it
	Zstd            bool     // compression.type is zstd, which old consumers are told they do not know
	RetentionMillis int64    // how old records get, in milliseconds; -1: any age
	RetentionBytes  int64    // how large a partition gets; -1: any size
	Journals        []uint32 // where its partitions must be placed; empty: anywhere
}

// ConfigType is the type of a config's value, as Kafka's DescribeConfigs tells it.
type ConfigType int8

// The types in use, with Kafka's numbers.
const (
	TypeBoolean ConfigType = 1
	TypeString  ConfigType = 2
	TypeInt     ConfigType = 3
	TypeLong    ConfigType = 5
	TypeDouble  ConfigType = 6
	TypeList    ConfigType = 7
)

// ConfigDef describes one topic config.
type ConfigDef struct {
	Name    string
	Default string
	Type    ConfigType
	Doc     string
	check   func(value string) error
}

// BrokerName is what Kafka calls the broker's config that a topic has its default from; "" if there is none.
func (d *ConfigDef) BrokerName() string {
	switch d.Name {
	case "firn.journals":
		return ""
	case "compression.type", "min.insync.replicas", "unclean.leader.election.enable":
		return d.Name
	case "delete.retention.ms", "max.compaction.lag.ms", "min.compaction.lag.ms":
		return "log.cleaner." + d.Name
	case "file.delete.delay.ms":
		return "log.segment.delete.delay.ms"
	case "flush.messages", "flush.ms":
		return "log.flush.interval." + strings.TrimPrefix(d.Name, "flush.")
	case "max.message.bytes":
		return "message.max.bytes"
	case "min.cleanable.dirty.ratio":
		return "log.cleaner.min.cleanable.ratio"
	case "segment.index.bytes":
		return "log.index.size.max.bytes"
	case "segment.jitter.ms", "segment.ms":
		return "log.roll." + strings.TrimPrefix(d.Name, "segment.")
	}
	return "log." + d.Name
}

// ConfigValue is the value that a config has for a topic.
type ConfigValue struct {
	ConfigDef
	Value     string
	IsDefault bool
}

// ConfigDefs lists every topic config that is accepted, sorted by name.
func ConfigDefs() []ConfigDef {
	return []ConfigDef{
		{"cleanup.policy", "delete", TypeList, "delete: records may be deleted. compact: records must have keys, which are not compacted; alone: every record is kept.", each("delete", "compact")},
		{"compression.type", "producer", TypeString, "Batches stay compressed as the producer compressed them, whatever this says; zstd keeps consumers older than Kafka 2.1 away.", oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer")},
		{"delete.retention.ms", "86400000", TypeLong, "Accepted for tools; there is no compaction.", integer(0, math.MaxInt64)},
		{"file.delete.delay.ms", "60000", TypeLong, "Accepted for tools; objects go after the cluster's grace.", integer(0, math.MaxInt64)},
		{"firn.journals", "", TypeList, "Journals (numbers, comma-separated) on which the partitions are placed when the topic is created; empty: all.", journals},
		{"flush.messages", "9223372036854775807", TypeLong, "Accepted for tools; every acknowledged record is durable.", integer(1, math.MaxInt64)},
		{"flush.ms", "9223372036854775807", TypeLong, "Accepted for tools; every acknowledged record is durable.", integer(0, math.MaxInt64)},
		{"index.interval.bytes", "4096", TypeInt, "Accepted for tools.", integer(0, math.MaxInt32)},
		{"max.compaction.lag.ms", "9223372036854775807", TypeLong, "Accepted for tools; there is no compaction.", integer(1, math.MaxInt64)},
		{"max.message.bytes", "1048588", TypeInt, "The largest record batch, in bytes.", integer(0, math.MaxInt32)},
		{"message.format.version", "3.0-IV1", TypeString, "Accepted for tools; records have format 2, as in Kafka since 3.0.", formatVersion},
		{"message.timestamp.after.max.ms", "9223372036854775807", TypeLong, "How far the time of a record may lie in the future, by the broker's clock.", integer(0, math.MaxInt64)},
		{"message.timestamp.before.max.ms", "9223372036854775807", TypeLong, "How far the time of a record may lie in the past, by the broker's clock.", integer(0, math.MaxInt64)},
		{"message.timestamp.type", "CreateTime", TypeString, "CreateTime keeps the producer's timestamps, LogAppendTime sets the broker's.", oneOf("CreateTime", "LogAppendTime")},
		{"min.cleanable.dirty.ratio", "0.5", TypeDouble, "Accepted for tools; there is no compaction.", ratio},
		{"min.compaction.lag.ms", "0", TypeLong, "Accepted for tools; there is no compaction.", integer(0, math.MaxInt64)},
		{"min.insync.replicas", "1", TypeInt, "Accepted for tools; the object store replicates.", integer(1, math.MaxInt32)},
		{"preallocate", "false", TypeBoolean, "Accepted for tools.", boolean},
		{"retention.bytes", "-1", TypeLong, "Bytes to keep per partition; -1: no limit.", integer(-1, math.MaxInt64)},
		{"retention.ms", "604800000", TypeLong, "Milliseconds to keep records; -1: for ever.", integer(-1, math.MaxInt64)},
		{"segment.bytes", "1073741824", TypeInt, "Accepted for tools.", integer(14, math.MaxInt32)},
		{"segment.index.bytes", "10485760", TypeInt, "Accepted for tools.", integer(4, math.MaxInt32)},
		{"segment.jitter.ms", "0", TypeLong, "Accepted for tools.", integer(0, math.MaxInt64)},
		{"segment.ms", "604800000", TypeLong, "Accepted for tools.", integer(1, math.MaxInt64)},
		{"unclean.leader.election.enable", "false", TypeBoolean, "Accepted for tools; no acknowledged record can be lost by an election.", boolean},
	}
}

// ConfigValues are the values of every config of the topic, sorted by name.
func (t *Topic) ConfigValues() []ConfigValue {
	defs := ConfigDefs()
	values := make([]ConfigValue, len(defs))
	for i, def := range defs {
		values[i] = ConfigValue{ConfigDef: def, Value: def.Default, IsDefault: true}
		for _, c := range t.Configs {
			if c.Key == def.Name {
				values[i].Value, values[i].IsDefault = def.canonical(c.Value), false
			}
		}
	}
	return values
}

// canonical is a valid value as Kafka tells it, however it was written.
func (d *ConfigDef) canonical(value string) string {
	switch d.Type {
	case TypeBoolean:
		return strings.ToLower(value)
	case TypeList:
		elements := strings.Split(value, ",")
		for i := range elements {
			elements[i] = strings.TrimSpace(elements[i])
		}
		return strings.Join(elements, ",")
	}
	return value
}

// ParseSettings validates overrides (ErrInvalidConfig) and resolves them.
func ParseSettings(configs []kfs.Config) (Settings, error) {
	s := Settings{
		MaxMessageBytes: 1048588, Delete: true, OldestMillis: math.MaxInt64, NewestMillis: math.MaxInt64, RetentionMillis: 604800000, RetentionBytes: -1,
	}
	if len(configs) == 0 {
		return s, nil
	}
	defs := ConfigDefs()
	for _, c := range configs {
		i := slices.IndexFunc(defs, func(d ConfigDef) bool { return d.Name == c.Key })
		if i < 0 {
			return s, fmt.Errorf("%w: unknown name %q", ErrInvalidConfig, c.Key)
		}
		if len(c.Value) > kfs.MaxString {
			return s, fmt.Errorf("%w: %s: a value of %d bytes, at most %d", ErrInvalidConfig, c.Key, len(c.Value), kfs.MaxString)
		}
		if err := defs[i].check(c.Value); err != nil {
			return s, fmt.Errorf("%w: %s=%q: %w", ErrInvalidConfig, c.Key, c.Value, err)
		}
		switch c.Key {
		case "cleanup.policy":
			var policies []string
			for policy := range strings.SplitSeq(c.Value, ",") {
				policies = append(policies, strings.TrimSpace(policy))
			}
			s.Delete, s.Keys = slices.Contains(policies, "delete"), slices.Contains(policies, "compact")
		case "max.message.bytes":
			n, err := strconv.ParseInt(c.Value, 10, 32)
			if err != nil {
				return s, fmt.Errorf("%w: %s: %w", ErrInvalidConfig, c.Key, err)
			}
			s.MaxMessageBytes = int32(n)
		case "retention.ms", "retention.bytes", "message.timestamp.before.max.ms", "message.timestamp.after.max.ms":
			n, err := strconv.ParseInt(c.Value, 10, 64)
			if err != nil {
				return s, fmt.Errorf("%w: %s: %w", ErrInvalidConfig, c.Key, err)
			}
			switch c.Key {
			case "retention.ms":
				s.RetentionMillis = n
			case "retention.bytes":
				s.RetentionBytes = n
			case "message.timestamp.before.max.ms":
				s.OldestMillis = n
			default:
				s.NewestMillis = n
			}
		case "message.timestamp.type":
			s.LogAppendTime = c.Value == "LogAppendTime"
		case "compression.type":
			s.Zstd = c.Value == "zstd"
		case "firn.journals":
			var err error
			if s.Journals, err = parseJournals(c.Value); err != nil {
				return s, fmt.Errorf("%w: %s: %w", ErrInvalidConfig, c.Key, err)
			}
		}
	}
	return s, nil
}

func integer(low, high int64) func(string) error {
	return func(v string) error {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < low || n > high {
			return fmt.Errorf("want a number from %d to %d", low, high)
		}
		return nil
	}
}

func ratio(v string) error {
	if f, err := strconv.ParseFloat(v, 64); err != nil || !(f >= 0 && f <= 1) {
		return fmt.Errorf("want a number from 0 to 1")
	}
	return nil
}

// formatVersion takes what Kafka's versions look like: 0.10.0, 0.11.0-IV2, 3.9.
func formatVersion(v string) error {
	number, internal, stated := strings.Cut(v, "-IV")
	parts := strings.Split(number, ".")
	ok := len(parts) >= 2 && len(parts) <= 4
	for _, part := range parts {
		_, err := strconv.ParseUint(part, 10, 8)
		ok = ok && err == nil
	}
	if _, err := strconv.ParseUint(internal, 10, 8); !ok || stated && err != nil {
		return fmt.Errorf("want a version such as 3.0 or 3.0-IV1")
	}
	return nil
}

func boolean(v string) error { return oneOf("true", "false")(strings.ToLower(v)) }

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if !slices.Contains(values, v) {
			return fmt.Errorf("want one of %s", strings.Join(values, ", "))
		}
		return nil
	}
}

func each(values ...string) func(string) error {
	one := oneOf(values...)
	return func(v string) error {
		if v == "" {
			return nil // no element is a wrong one
		}
		for part := range strings.SplitSeq(v, ",") {
			if err := one(strings.TrimSpace(part)); err != nil {
				return err
			}
		}
		return nil
	}
}

func journals(v string) error {
	_, err := parseJournals(v)
	return err
}

func parseJournals(v string) ([]uint32, error) {
	if v == "" {
		return nil, nil
	}
	var list []uint32
	for part := range strings.SplitSeq(v, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(part), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("want journal numbers separated by commas")
		}
		list = append(list, uint32(n))
	}
	return list, nil
}
