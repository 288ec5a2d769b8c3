package kfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decodeJSON reads a JSON object of the format into what into points to. Errors are ErrVersion and ErrCorrupt; fields that the version
// does not have are among the damage, for who does not know them cannot tell what they ask for.
func decodeJSON(body []byte, what string, atMost, version int, into interface{ Validate() error }) error {
	if len(body) > atMost {
		return corrupt("%s of %d bytes, at most %d", what, len(body), atMost)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return corrupt("%s: %w", what, err)
	}
	if head.Version != version {
		return fmt.Errorf("%s: %w %d, this reader knows %d", what, ErrVersion, head.Version, version)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return corrupt("%s: %w", what, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return corrupt("%s: more than one value", what)
	}
	if err := into.Validate(); err != nil {
		return corrupt("%s: %w", what, err)
	}
	return nil
}
