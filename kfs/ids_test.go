package kfs

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestTopicIDText(t *testing.T) {
	id := sampleID(0xf8)
	text, err := json.Marshal(id)
	if want := `"-Pn6-_z9_v8AAQIDBAUGBw"`; err != nil || string(text) != want {
		t.Errorf("topic id is %s in JSON (%v), want %s", text, err, want)
	}
	var got TopicID
	if err := json.Unmarshal(text, &got); err != nil || got != id {
		t.Errorf("it reads as %s, %v", got, err)
	}
	for _, bad := range []string{"", "-Pn6-_z9_v8AAQIDBAUGB", "-Pn6-_z9_v8AAQIDBAUGBw==", "+Pn6-_z9_v8AAQIDBAUGBw", "-Pn6-_z9_v8AAQIDBAUGBx", "-Pn6-_z9_v8AAQIDBAUGBwAA"} {
		if id, err := ParseTopicID(bad); err == nil {
			t.Errorf("%q was taken as topic id %s", bad, id)
		}
	}
}

func TestValidateTopicName(t *testing.T) {
	for _, good := range []string{"a", "A.b_c-9", "...", strings.Repeat("x", 249)} {
		if err := ValidateTopicName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "../../evil", "a b", "ä", "a\x00", strings.Repeat("x", 250)} {
		if ValidateTopicName(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSpan(t *testing.T) {
	s := Span{3, 5}
	if s.Len() != 2 || s.Empty() || !s.Contains(3) || !s.Contains(4) || s.Contains(5) || s.Contains(2) {
		t.Errorf("%s: wrong answers about itself", s)
	}
	for o, overlaps := range map[Span]bool{{4, 9}: true, {0, 4}: true, {5, 9}: false, {0, 3}: false, {4, 4}: false, {0, 9}: true} {
		if s.Overlaps(o) != overlaps || o.Overlaps(s) != overlaps {
			t.Errorf("%s and %s overlap: want %v", s, o, overlaps)
		}
	}
}
