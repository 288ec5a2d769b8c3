package kfs

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"fmt"
)

// TopicID is a topic's identity: a topic that is deleted and created again under the same name has another one.
// Kafka writes it as URL-safe base64 without padding (22 characters).
type TopicID [16]byte

// IsZero reports whether the id is unset. No topic has the zero id.
func (id TopicID) IsZero() bool { return id == TopicID{} }

// String is Kafka's text form of the id.
func (id TopicID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseTopicID reads Kafka's text form of a topic id.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("topic id %q: want 22 characters of URL-safe base64", s)
	}
	copy(id[:], b)
	return id, nil
}

// MarshalText implements encoding.TextMarshaler with Kafka's text form.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with Kafka's text form.
func (id *TopicID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseTopicID(string(text))
	return err
}

// WriterID names one life of one writing process: random at each start, so that a writer can recognize its own objects.
type WriterID [16]byte

// String is the id in hexadecimal.
func (id WriterID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler with the hexadecimal form.
func (id WriterID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ClusterID names a cluster, in Kafka's text form of an id.
type ClusterID = TopicID

// PartitionID names one partition of one topic incarnation.
type PartitionID struct {
	Topic     TopicID
	Partition int32
}

// String is topic id and partition number, joined by a slash: the stable identity of a source in receipts.
func (p PartitionID) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// compare orders partitions by the bytes of the topic id, then by number.
func (p PartitionID) compare(o PartitionID) int {
	if c := bytes.Compare(p.Topic[:], o.Topic[:]); c != 0 {
		return c
	}
	return cmp.Compare(p.Partition, o.Partition)
}

// ValidateTopicName refuses names that Kafka refuses: empty, longer than 249, ".", "..", or with characters outside
// [a-zA-Z0-9._-]. No key is built from a name that has not passed it.
func ValidateTopicName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("topic name is empty")
	case name == "." || name == "..":
		return fmt.Errorf("topic name %q is not allowed", name)
	case len(name) > 249:
		return fmt.Errorf("topic name of %d characters is longer than 249", len(name))
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("topic name %q: character %q is outside [a-zA-Z0-9._-]", name, c)
		}
	}
	return nil
}
