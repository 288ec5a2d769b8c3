package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// The keys of a receipt in a snapshot's summary. All of them are strings; Ranges is a JSON object.
const (
	keyReceipt = "firn.receipt" // the version of this format, "1"
	keyJob     = "firn.job"
	keyKind    = "firn.kind"
	keyCommit  = "firn.commit"
	keyWriter  = "firn.writer"
	keyLineage = "firn.lineage"
	keyConfig  = "firn.config"
	keyRanges  = "firn.ranges"
	keyLetters = "firn.letters" // a JSON object, mark → [source, …]
	// keyRepaired is of KindRepair alone: a JSON object, source → [[base, next], …].
	keyRepaired = "firn.repaired"

	receiptVersion = "1"

	// progressPrefix begins the table property that holds a job's cumulative progress; the job's name follows.
	progressPrefix = "firn.progress."
)

// Kind says what a snapshot of ours does to the position.
type Kind string

const (
	KindStart   Kind = "start"   // the first commit of a job: no rows, [p, p) for every source
	KindData    Kind = "data"    // rows and the ranges that they came from
	KindEmpty   Kind = "empty"   // ranges without rows
	KindReplace Kind = "replace" // files were rewritten, the rows are the same; the position stays
	KindRepair  Kind = "repair"  // rows of offsets that had none when they were accounted for; the position stays
	KindLoss    Kind = "loss"    // ranges without rows whose records are gone: a person has decided to go on behind them
)

// Advance is what one commit did for one source.
type Advance struct {
	Span kfs.Span // the offsets that the commit accounts for
	High int64    // the greatest offset of a row that the commit added; -1 if it added none
	Rows int64    // the number of rows that the commit added
}

// MarshalJSON writes [base, next, high, rows].
func (a Advance) MarshalJSON() ([]byte, error) {
	return json.Marshal([4]int64{a.Span.Base, a.Span.Next, a.High, a.Rows})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Advance) UnmarshalJSON(b []byte) error {
	var v []int64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if len(v) != 4 || v[0] < 0 || v[1] < v[0] || v[2] < -1 || v[2] >= v[1] || v[3] < 0 {
		return fmt.Errorf("range %s is not [base, next, high, rows]", b)
	}
	*a = Advance{Span: kfs.Span{Base: v[0], Next: v[1]}, High: v[2], Rows: v[3]}
	return nil
}

// Receipt is what a snapshot's summary says about the commit that made it.
type Receipt struct {
	Job     string
	Kind    Kind
	Commit  string // names one group on its way into the table: the same for every try
	Writer  string // who committed
	Lineage string // of the source
	Config  string // hash of the job's configuration
	Ranges  map[string]Advance
	// Letters are the commits of the dead-letter table that have decided, with these rows, what became of the ranges; of sources without dead
	// letters in their range there is none.
	Letters map[string]Mark
	// Repaired is the offsets of the rows that a repair added, in order; they lie below the position.
	Repaired map[string][]kfs.Span
}

// Rows is how many rows the commit added.
func (r *Receipt) Rows() int64 {
	var rows int64
	for _, a := range r.Ranges {
		rows += a.Rows
	}
	for _, spans := range r.Repaired {
		rows += count(spans)
	}
	return rows
}

// count is how many offsets spans hold.
func count(spans []kfs.Span) int64 {
	var n int64
	for _, s := range spans {
		n += s.Len()
	}
	return n
}

// summary is the receipt as snapshot summary keys.
func (r *Receipt) summary() (map[string]string, error) {
	all := r.Ranges
	if all == nil {
		all = map[string]Advance{}
	}
	ranges, err := json.Marshal(all)
	if err != nil {
		return nil, fmt.Errorf("receipt of job %s: %w", r.Job, err)
	}
	s := map[string]string{
		keyReceipt: receiptVersion,
		keyJob:     r.Job,
		keyKind:    string(r.Kind),
		keyCommit:  r.Commit,
		keyRanges:  string(ranges),
	}
	if r.Kind == KindRepair {
		if s[keyRepaired], err = encodeSpans(r.Repaired); err != nil {
			return nil, fmt.Errorf("receipt of job %s: %w", r.Job, err)
		}
	}
	if len(r.Letters) > 0 {
		if s[keyLetters], err = encodeMarks(r.Letters); err != nil {
			return nil, fmt.Errorf("receipt of job %s: %w", r.Job, err)
		}
	}
	for key, value := range map[string]string{keyWriter: r.Writer, keyLineage: r.Lineage, keyConfig: r.Config} {
		if value != "" {
			s[key] = value
		}
	}
	return s, nil
}

// parseReceipt reads the receipt in a snapshot's summary. It gives nil, and no error, if there is none.
func parseReceipt(summary map[string]string) (*Receipt, error) {
	version, ok := summary[keyReceipt]
	if !ok {
		return nil, nil
	}
	if version != receiptVersion {
		return nil, fmt.Errorf("receipt version %q is not known to this program, which knows %s", version, receiptVersion)
	}
	r := &Receipt{
		Job:     summary[keyJob],
		Kind:    Kind(summary[keyKind]),
		Commit:  summary[keyCommit],
		Writer:  summary[keyWriter],
		Lineage: summary[keyLineage],
		Config:  summary[keyConfig],
	}
	if r.Job == "" || r.Commit == "" {
		return nil, fmt.Errorf("receipt without %s or %s", keyJob, keyCommit)
	}
	if err := json.Unmarshal([]byte(summary[keyRanges]), &r.Ranges); err != nil {
		return nil, fmt.Errorf("receipt %s: %w", r.Commit, err)
	}
	if text := summary[keyLetters]; text != "" {
		var err error
		if r.Letters, err = decodeMarks(text); err != nil {
			return nil, fmt.Errorf("receipt %s: %w", r.Commit, err)
		}
	}
	if r.Kind == KindRepair {
		var err error
		if r.Repaired, err = decodeSpans(summary[keyRepaired]); err != nil {
			return nil, fmt.Errorf("receipt %s: %w", r.Commit, err)
		}
	}
	return r, nil
}

// encodeSpans writes the spans of sources.
func encodeSpans(all map[string][]kfs.Span) (string, error) {
	out := make(map[string][][2]int64, len(all))
	for source, spans := range all {
		for _, s := range spans {
			out[source] = append(out[source], [2]int64{s.Base, s.Next})
		}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// decodeSpans reads what encodeSpans wrote.
func decodeSpans(text string) (map[string][]kfs.Span, error) {
	var in map[string][][2]int64
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, fmt.Errorf("repaired offsets: %w", err)
	}
	out := make(map[string][]kfs.Span, len(in))
	for source, pairs := range in {
		at := int64(0)
		for _, p := range pairs {
			if p[0] < at || p[1] <= p[0] {
				return nil, fmt.Errorf("repaired offsets of %s: [%d, %d) is not behind %d", source, p[0], p[1], at)
			}
			out[source], at = append(out[source], kfs.Span{Base: p[0], Next: p[1]}), p[1]
		}
	}
	return out, nil
}

// SourceProgress is how far a job has brought one source into a table.
type SourceProgress struct {
	First int64 // where the job began
	Next  int64 // the position: the next offset that the table does not account for
	High  int64 // the greatest offset of a row that the job added; -1 if it added none
	Rows  int64 // how many rows the job has added; UnknownRows if nobody counted
	// Repaired is how many of the rows were added by repairs, long after their offsets were accounted for.
	Repaired int64
	// Reached is the offset behind the greatest of a row that a rollback of the branch has taken, as long as the job has not come there again; else 0.
	Reached int64
}

// UnknownRows is the count of rows where receipts have expired before anybody counted.
const UnknownRows = -1

// AddRows adds two counts of rows; UnknownRows if one of them is that.
func AddRows(a, b int64) int64 {
	if a == UnknownRows || b == UnknownRows {
		return UnknownRows
	}
	return a + b
}

// MarshalJSON writes [first, next, high, rows], and repaired and reached behind them if there are any.
func (p SourceProgress) MarshalJSON() ([]byte, error) {
	if p.Reached > 0 {
		return json.Marshal([6]int64{p.First, p.Next, p.High, p.Rows, p.Repaired, p.Reached})
	}
	if p.Repaired > 0 {
		return json.Marshal([5]int64{p.First, p.Next, p.High, p.Rows, p.Repaired})
	}
	return json.Marshal([4]int64{p.First, p.Next, p.High, p.Rows})
}

// UnmarshalJSON reads what MarshalJSON writes, and [first, next, high] as it was written before rows were counted.
func (p *SourceProgress) UnmarshalJSON(b []byte) error {
	var v []int64
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	if len(v) == 3 {
		v = append(v, UnknownRows)
	}
	for len(v) == 4 || len(v) == 5 {
		v = append(v, 0)
	}
	if len(v) != 6 || v[0] < 0 || v[1] < v[0] || v[2] < -1 || v[2] >= v[1] || v[3] < UnknownRows || v[3] > v[1]-v[0] || v[4] < 0 || v[4] > v[1]-v[0] || v[5] < 0 || v[5] > 0 && v[5] <= v[1] {
		return fmt.Errorf("progress %s is not [first, next, high, rows, repaired, reached]", b)
	}
	*p = SourceProgress{First: v[0], Next: v[1], High: v[2], Rows: v[3], Repaired: v[4], Reached: v[5]}
	return nil
}

// reach notes how far the job's rows had come before. It is 0 once it stands there again.
func (p *SourceProgress) reach(next int64) {
	if p.Reached = next; next <= p.Next {
		p.Reached = 0
	}
}

// repair counts repaired rows.
func (p *SourceProgress) repair(spans []kfs.Span) {
	n := count(spans)
	p.Repaired += n
	if p.Rows != UnknownRows {
		p.Rows += n
	}
	if len(spans) > 0 {
		p.High = max(p.High, spans[len(spans)-1].Next-1)
	}
}

// Progress is the cumulative record of a job in a table property. It is set in the same commit as the receipt whose commit id it
// carries, so it is true of the branch exactly as long as that receipt is the newest one.
type Progress struct {
	Table    string                    `json:"table"`    // the table's uuid
	Snapshot int64                     `json:"snapshot"` // the snapshot that the commit was made on
	Commit   string                    `json:"commit"`
	Lineage  string                    `json:"lineage,omitempty"`
	Sources  map[string]SourceProgress `json:"sources"`
	// Lost is the offsets, among those that the job has accounted for, whose records were gone: those of KindLoss, in order.
	Lost map[string][]kfs.Span `json:"lost,omitempty"`
	// Since is the table's last sequence number when the property was written anew: there was none yet, or a person had removed it.
	Since int64 `json:"since,omitempty"`
}

// advance is the progress after a commit of receipt r on snapshot head.
func advance(before map[string]SourceProgress, r *Receipt, table string, head int64) *Progress {
	sources := maps.Clone(before)
	if sources == nil {
		sources = map[string]SourceProgress{}
	}
	for source, a := range r.Ranges {
		p, ok := sources[source]
		if !ok {
			p = SourceProgress{First: a.Span.Base, High: -1}
		}
		p.Next = a.Span.Next
		p.reach(p.Reached)
		p.High = max(p.High, a.High)
		if p.Rows != UnknownRows {
			p.Rows += a.Rows
		}
		sources[source] = p
	}
	for source, spans := range r.Repaired {
		p := sources[source]
		p.repair(spans)
		sources[source] = p
	}
	return &Progress{Table: table, Snapshot: head, Commit: r.Commit, Lineage: r.Lineage, Sources: sources}
}

// Stream is the part of a source before its last slash: sources of one stream carry the same kind of data, and two jobs must not
// both write the same stream into one table.
func Stream(source string) string {
	if i := strings.LastIndexByte(source, '/'); i >= 0 {
		return source[:i]
	}
	return source
}

// streams are the streams of sources, sorted.
func streams[V any](sources map[string]V) []string {
	set := map[string]struct{}{}
	for source := range sources {
		set[Stream(source)] = struct{}{}
	}
	return slices.Sorted(maps.Keys(set))
}

// progressFile is the property's value when the progress is too large for one: where it lies and what it must be.
type progressFile struct {
	File    string   `json:"file"`
	Size    int64    `json:"size"`
	CRC     uint32   `json:"crc32c"`
	Commit  string   `json:"commit"`
	Streams []string `json:"streams"`
}
