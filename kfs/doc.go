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
//
// A writer fills a Manifest and calls Seal; a reader calls Open with a whole object, or OpenTail with its end and then Segment.Check
// with each range that it reads. Manifest.Follows checks the chain. ValidateEntry and Segment.Validate let a writer refuse one bad
// part before it shares an object with good ones.
//
//	object, crc, err := kfs.Seal(&manifest, bodies)   // put if absent under kfs.ObjectKey(manifest.Journal, manifest.Sequence)
//	next, crc, err := kfs.Open(object)                // the reader's side
//	err = next.Follows(journal, sequence, previous, epoch)
//
// Two checksums deserve a word. The Object CRC, which chains objects, covers the manifest and the footer; the manifest holds the CRC
// of every segment. PageRef.CRC is the one in the page's footer, and SettledSegment.CRC leaves the footer out: a CRC-32C taken right
// behind a copy of itself keeps only half of its bits.
package kfs
