// Package kfs is the open storage format of Firn: how Kafka records, topics and offsets lie in an object store.
//
// A log has two tiers. Journal objects (format version 2) hold recent records of many partitions, one object per flush, in the
// order of arrival. Segments (format version 1) hold settled records of one partition in large objects with an index. Checkpoints
// and index pages carry the whole state of a journal, so that a reader starts near the end instead of at the beginning.
//
// The package turns values into bytes and bytes into values; it does no I/O. Everything that it decodes is untrusted: lengths are
// checked before they are used, checksums before anything is believed, and the same Validate runs on writing and on reading.
// It imports the standard library only, so that a reader of the format can be built from this package alone.
// README.md beside it is the public specification.
package kfs
