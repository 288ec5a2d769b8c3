package group

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// subscription is what a member wants to read. Members that want the same share one.
type subscription struct {
	key     string
	names   []string // sorted
	regex   string
	pattern *regexp.Regexp // nil without one
	members int
	topics  []topic // those of them that exist, sorted by id
}

// topic is a topic as assignors see it.
type topic struct {
	id         kfs.TopicID
	partitions int32
}

// bytes is the memory that a subscription takes, about.
func (s *subscription) bytes() int {
	n := 256 + 2*len(s.key) + 24*len(s.topics)
	if s.pattern != nil {
		n += regexBytes
	}
	for _, name := range s.names {
		n += 16 + len(name)
	}
	return n
}

// What a regular expression may cost.
const (
	maxRegexBytes        = 1000
	maxRegexInstructions = 1000 // steps for each character of a name, at most
	regexBytes           = 64 * maxRegexInstructions
)

// subscriptionKey is equal for equal subscriptions. names are sorted.
func subscriptionKey(names []string, regex string) string {
	return regex + "\x00" + strings.Join(names, "\x00")
}

func sortedNames(names []string) []string {
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names)
}

// compileRegex reads a regular expression in the syntax of RE2, for whole names.
func compileRegex(regex string) (*regexp.Regexp, error) {
	if len(regex) > maxRegexBytes {
		return nil, fmt.Errorf("the regular expression is %d bytes long, %d are allowed", len(regex), maxRegexBytes)
	}
	tree, err := syntax.Parse(regex, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if n := instructions(tree); n > maxRegexInstructions {
		return nil, fmt.Errorf("the regular expression takes %d steps for a character, %d are allowed", n, maxRegexInstructions)
	}
	return regexp.Compile(`\A(?:` + regex + `)\z`)
}

// instructions is about how many there are in the program of an expression. Repetitions are written out in it.
func instructions(tree *syntax.Regexp) int {
	n := 1
	if tree.Op == syntax.OpLiteral {
		n = len(tree.Rune)
	}
	for _, sub := range tree.Sub {
		n += instructions(sub)
	}
	if tree.Op == syntax.OpRepeat {
		n *= max(tree.Min+1, tree.Max)
	}
	return n
}

// resolve looks up which topics the subscription means, and reports whether they are others than before.
func (s *subscription) resolve(cluster *metadata.State) bool {
	var found []topic
	add := func(t *metadata.Topic) {
		if t.State == kfs.TopicLive {
			found = append(found, topic{t.ID, t.Partitions()})
		}
	}
	for _, name := range s.names {
		if t, ok := cluster.Topic(name); ok {
			add(t)
		}
	}
	if s.pattern != nil {
		for _, t := range cluster.Topics() {
			if s.pattern.MatchString(t.Name) {
				add(t)
			}
		}
	}
	slices.SortFunc(found, func(a, b topic) int { return bytes.Compare(a.id[:], b.id[:]) })
	found = slices.Compact(found)
	if slices.Equal(found, s.topics) {
		return false
	}
	s.topics = found
	return true
}

// wants reports whether the subscription means a topic of that name.
func (s *subscription) wants(name string) bool {
	_, named := slices.BinarySearch(s.names, name)
	return named || s.pattern != nil && s.pattern.MatchString(name)
}
