package differential

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Difference is one fact that two servers do not agree on.
type Difference struct {
	Against string // the other server
	Seed    uint64
	Step    int
	API     string // "Produce"
	Version int16
	Tag     string
	Fact    Fact // where, as Firn or the other says it
	Firn    string
	Other   string
	Text    string // of the step

	Explained *Explanation // nil if nothing explains it

	refused bool // Firn has an error code in the same row
}

// absent is the value of what is not in an answer.
const absent = "absent"

// String is the difference in one line.
func (d Difference) String() string {
	tag := ""
	if d.Tag != "" {
		tag = " [" + d.Tag + "]"
	}
	return fmt.Sprintf("seed %d step %d: %s v%d%s: %s: firn %s, %s %s\n\t%s", d.Seed, d.Step, d.API, d.Version, tag, d.Fact.Path, d.Firn, d.Against, d.Other, d.Text)
}

// Explanation is a difference that is known and why it is there. Patterns are those of path.Match, an empty one matches everything.
type Explanation struct {
	Against  string // server
	API      string
	Versions Range // the zero value means all
	Tag      string
	Path     string // of the fact
	Firn     string
	Other    string
	Why      string
	// Refused says that Firn has an error code other than NONE in the same row.
	Refused bool
	// Ends says that the two do not hold the same things from here on: the rest of the sequence is not compared.
	Ends bool
}

func (e *Explanation) explains(d *Difference) bool {
	if e.Refused && !d.refused || e.Against != d.Against || e.Versions != (Range{}) && (d.Version < e.Versions.Min || d.Version > e.Versions.Max) {
		return false
	}
	return like(e.API, d.API) && like(e.Tag, d.Tag) && like(e.Path, d.Fact.Path) && like(e.Firn, d.Firn) && like(e.Other, d.Other)
}

// like matches with * for any text. Brackets mean themselves, and so do slashes.
func like(pattern, text string) bool {
	if pattern == "" {
		return true
	}
	plain := strings.NewReplacer("[", "(", "]", ")", "/", "|", "\\", "|", "?", "!")
	ok, err := path.Match(plain.Replace(pattern), plain.Replace(text))
	return ok && err == nil
}

// Compare finds what Firn (ours) and another server (theirs) disagree on, and who explains it.
func Compare(against string, s *Sequence, ours, theirs []Outcome, known []Explanation) []Difference {
	var all []Difference
	for i := range s.Steps {
		step := &s.Steps[i]
		ends := false
		found := differ(ours[i], theirs[i])
		for k := range found {
			d := &found[k]
			d.Against, d.Seed, d.Step, d.Tag, d.Text = against, s.Seed, i, step.Tag, step.Text
			d.API, d.Version, d.refused = kmsg.NameForKey(step.key), step.version, refused(ours[i], row(d.Fact.Path))
			d.explain(known)
		}
		follow(found)
		for k := range found {
			// What follows something unexplained may be only its consequence.
			ends = ends || found[k].Explained == nil || found[k].Explained.Ends
		}
		all = append(all, found...)
		if ends {
			break
		}
	}
	return all
}

func (d *Difference) explain(known []Explanation) {
	for k := range known {
		if known[k].explains(d) {
			d.Explained = &known[k]
			return
		}
	}
}

// follow explains what is only a consequence: where one server has refused something and the other has not, and that is explained, the
// values beside the error codes differ too.
func follow(found []Difference) {
	for _, cause := range found {
		if path.Ext(cause.Fact.Path) != ".ErrorCode" && cause.Fact.Path != "ErrorCode" || cause.Explained == nil || (cause.Firn == "NONE") == (cause.Other == "NONE") {
			continue
		}
		for k := range found {
			if d := &found[k]; d.Explained == nil && strings.HasPrefix(d.Fact.Path, row(cause.Fact.Path)) {
				d.Explained = cause.Explained
			}
		}
	}
}

// row is the part of a path that those beside it have in common.
func row(path string) string { return path[:strings.LastIndexByte(path, '.')+1] }

func refused(facts Outcome, row string) bool {
	return slices.ContainsFunc(facts, func(f Fact) bool { return f.Path == row+"ErrorCode" && f.Value != "NONE" })
}

// differ walks two sorted lists of facts. Of a row that only one of them has, what is in it is not told again.
func differ(ours, theirs Outcome) (all []Difference) {
	missing := ""
	add := func(f Fact, a, b string) {
		if missing != "" && strings.HasPrefix(f.Path, missing) {
			return
		}
		missing = ""
		if (a == absent || b == absent) && strings.HasSuffix(f.Path, "]") {
			missing = f.Path
		}
		all = append(all, Difference{Fact: f, Firn: a, Other: b})
	}
	for len(ours) > 0 || len(theirs) > 0 {
		switch {
		case len(theirs) == 0 || len(ours) > 0 && ours[0].Path < theirs[0].Path:
			add(ours[0], ours[0].Value, absent)
			ours = ours[1:]
		case len(ours) == 0 || theirs[0].Path < ours[0].Path:
			add(theirs[0], absent, theirs[0].Value)
			theirs = theirs[1:]
		default:
			if ours[0].Value != theirs[0].Value {
				add(ours[0], ours[0].Value, theirs[0].Value)
			}
			ours, theirs = ours[1:], theirs[1:]
		}
	}
	return all
}
