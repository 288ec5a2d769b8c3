package blobtest

import (
	"errors"
	"fmt"

	"github.com/firn-io/firn/kfs/blob"
)

// The verbs of an Op. A List is one operation, whatever the number of its pages.
const (
	Get    = "GET"
	Put    = "PUT"
	List   = "LIST"
	Delete = "DELETE"
)

// Op is one operation that a Store is asked for.
type Op struct {
	N        int        // of the operations so far, from 0
	Verb     string     // Get, Put, List or Delete
	Key      string     // the prefix of a List
	Range    blob.Range // of a Get
	Size     int        // bytes of a Put
	IfAbsent bool       // of a Put
	After    string     // of a List
}

// String gives an operation as a line of a Trace begins.
func (o Op) String() string {
	s := o.Verb + " " + o.Key
	switch {
	case o.Verb == Put:
		s += fmt.Sprintf(" (%d bytes)", o.Size)
		if o.IfAbsent {
			s += " if-absent"
		}
	case o.Verb == List && o.After != "":
		s += " after " + o.After
	case o.Verb == Get && o.Range.Suffix > 0:
		s += fmt.Sprintf(" last %d", o.Range.Suffix)
	case o.Verb == Get && o.Range.Len > 0:
		s += fmt.Sprintf(" from %d length %d", o.Range.Off, o.Range.Len)
	case o.Verb == Get && o.Range.Off > 0:
		s += fmt.Sprintf(" from %d", o.Range.Off)
	}
	return s
}

// outcome names an error in one word or two, so that a trace is the same for every store.
func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, blob.ErrNotFound):
		return "not found"
	case errors.Is(err, blob.ErrPrecondition):
		return "exists"
	case errors.Is(err, blob.ErrRange):
		return "no such range"
	}
	return "error"
}
