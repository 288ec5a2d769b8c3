package record

// OffsetAt finds, in batches that lie back to back, the first record from an offset on whose timestamp, in Unix milliseconds, is at or after
// another; false if there is none. Batches that are all older are not decompressed. Checksums are the caller's business.
func OffsetAt(batches []byte, from, timestamp int64) (offset int64, ok bool, err error) {
	var r Reader
	for batch, err := range Batches(batches) {
		if err != nil {
			return 0, false, err
		}
		h, err := ParseHeader(batch)
		if err != nil {
			return 0, false, err
		}
		if h.MaxTimestamp < timestamp || h.LastOffset() < from {
			continue
		}
		if err := r.Reset(batch, DecompressedBytes); err != nil {
			return 0, false, err
		}
		var rec Record
		for {
			more, err := r.Next(&rec)
			if err != nil {
				return 0, false, err
			}
			if !more {
				break
			}
			if rec.Timestamp >= timestamp && rec.Offset >= from {
				return rec.Offset, true, nil
			}
		}
	}
	return 0, false, nil
}
