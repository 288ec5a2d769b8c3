package chaos_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/firn-io/firn/cmd/firn/chaos"
)

// TestLedger writes books: "told 0@3" is an acknowledgement, "a 0@3" what reader a has read, "failed 0", "start 3" and "end 5" what they say.
// What is found must contain all the words, and nothing may be found where there are none.
func TestLedger(t *testing.T) {
	for name, c := range map[string]struct {
		producer chaos.Producer
		books    string
		want     []string
	}{
		"all is well":               {books: "told 0@0; told 1@1; a 0@0; a 1@1; b 0@0; end 2"},
		"not told is not lost":      {books: "told 0@0; a 0@0; a 1@1; end 2"},
		"lost":                      {books: "told 0@0; told 1@1; a 0@0; end 1", want: []string{"record 1 was acknowledged at offset 1, where nothing is"}},
		"lost to another":           {books: "told 0@0; told 1@1; a 0@0; a 2@1; end 2", want: []string{"record 1 was acknowledged at offset 1, where record 2 is", "record 2 is at offset 1, before 1"}},
		"two values":                {books: "a 0@0; b 1@0; end 1", want: []string{"at offset 0 a has read record 0, and b record 1"}},
		"a duplicate":               {books: "a 0@0; a 0@1; a 1@2; end 3", want: []string{"record 0 of an idempotent producer is at offset 1, and was before"}},
		"a plain duplicate":         {producer: chaos.Plain, books: "told 0@1; a 0@0; a 0@1; a 1@2; end 3"},
		"plain, lost":               {producer: chaos.Plain, books: "told 0@0; a 1@0; a 0@1; end 2", want: []string{"where record 1 is", "record 1 is at offset 0, before 0"}},
		"plain, out of order":       {producer: chaos.Plain, books: "a 0@0; a 2@1; a 1@2; end 3", want: []string{"record 2 is at offset 1, before 1"}},
		"out of order":              {books: "a 0@0; a 2@1; a 1@2; end 3", want: []string{"record 2 is at offset 1, before 1"}},
		"told twice":                {books: "told 0@0; told 0@4; a 0@0; end 1", want: []string{"record 0 was acknowledged at offset 0 and at 4"}},
		"a hole":                    {books: "a 0@0; a 1@2; end 3", want: []string{"offset 1 is missing"}},
		"read and gone":             {books: "a 0@0; a 1@1; end 1", want: []string{"offset 1 was read, and the end is 1"}},
		"refused":                   {books: "failed 0; end 0", want: []string{"record 0 was not acknowledged: no"}},
		"trimmed":                   {books: "told 0@0; told 3@3; a 3@3; start 3; end 4"},
		"trimmed, and the rest":     {books: "told 3@3; told 4@4; a 3@3; start 3; end 4", want: []string{"record 4 was acknowledged at offset 4"}},
		"trimmed, then a duplicate": {books: "a 3@3; a 3@4; start 3; end 5", want: []string{"record 3 of an idempotent"}},
	} {
		t.Run(name, func(t *testing.T) {
			found := checkBooks(t, c.producer, c.books)
			for _, want := range c.want {
				if !strings.Contains(found, want) {
					t.Errorf("%q is not found in:\n%s", want, found)
				}
			}
			if len(c.want) == 0 && found != "" {
				t.Errorf("found:\n%s", found)
			}
		})
	}
}

func checkBooks(t *testing.T, producer chaos.Producer, books string) string {
	l := chaos.NewLedger()
	l.Expect("topic", producer)
	p := chaos.Partition{Topic: "topic"}
	end := int64(-1)
	for line := range strings.SplitSeq(books, "; ") {
		who, what, _ := strings.Cut(line, " ")
		var number, offset int64
		if _, err := fmt.Sscanf(what+"@0", "%d@%d", &number, &offset); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		switch who {
		case "told":
			l.Told(p, number, offset)
		case "failed":
			l.Failed(p, number, errors.New("no"))
		case "start":
			l.Trimmed(p, number)
		case "end":
			end = number
		default:
			l.Read(who, p, offset, number)
		}
	}
	found := ""
	for _, err := range l.Check(map[chaos.Partition]int64{p: end}) {
		found += err.Error() + "\n"
	}
	return found
}

func TestLedgerUnread(t *testing.T) {
	l := chaos.NewLedger()
	p := chaos.Partition{Topic: "topic", Number: 1}
	l.Told(p, 0, 0)
	l.Read("a", p, 1, 1)
	l.Told(p, 1, 1)
	if err := l.Unread("other"); err != nil {
		t.Error(err)
	}
	if err := l.Unread("topic"); err == nil || !strings.Contains(err.Error(), "topic/1: 1 acknowledged records were not read, among them 0 at offset 0") {
		t.Errorf("unread: %v", err)
	}
	l.Read("a", p, 0, 0)
	if err := l.Unread("topic"); err != nil {
		t.Error(err)
	}
	if n := l.Acknowledged("topic"); n != 2 || l.Seen() != 2 || l.Acknowledged("other") != 0 {
		t.Errorf("%d acknowledged, %d seen", n, l.Seen())
	}
}
