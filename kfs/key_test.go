package kfs

import "testing"

func TestKeys(t *testing.T) {
	id := sampleID(0xf8)
	for _, tc := range []struct{ got, want string }{
		{ObjectKey(0, 0), "journal/0000/00000000000000000000.kfs"},
		{ObjectKey(12, 1<<64-1), "journal/0012/18446744073709551615.kfs"},
		{CheckpointKey(1, 300), "journal/0001/checkpoint-00000000000000000300.kfm"},
		{PageKey(1, 2, 300), "journal/0001/index-00000000000000000002-00000000000000000300.kfm"},
		{HeadKey(3), "journal/0003/head.json"},
		{SegmentKey(id, "a.b", 4, 99), "topics/" + id.String() + "/a.b/4/segment-00000000000000000099.kfs"},
		{IndexKey(id, "a.b", 4, 99), "topics/" + id.String() + "/a.b/4/segment-00000000000000000099.index"},
		{JobKey("events"), "jobs/events.json"},
		{JobConfigKey("a.b", "0f"), "jobs/a.b/config-0f.json"},
	} {
		if tc.got != tc.want {
			t.Errorf("key %q, want %q", tc.got, tc.want)
		}
	}
}

func TestParseKeys(t *testing.T) {
	id := sampleID(0xf8)
	if j, s, ok := ParseObjectKey(ObjectKey(12, 345)); !ok || j != 12 || s != 345 {
		t.Error(j, s, ok)
	}
	if j, s, ok := ParseCheckpointKey(CheckpointKey(12, 345)); !ok || j != 12 || s != 345 {
		t.Error(j, s, ok)
	}
	if j, f, l, ok := ParsePageKey(PageKey(12, 3, 45)); !ok || j != 12 || f != 3 || l != 45 {
		t.Error(j, f, l, ok)
	}
	if i, n, p, b, ok := ParseSegmentKey(SegmentKey(id, "t", 7, 8)); !ok || i != id || n != "t" || p != 7 || b != 8 {
		t.Error(i, n, p, b, ok)
	}
	if j, h, ok := ParseJobConfigKey(JobConfigKey("a.b", "0f")); !ok || j != "a.b" || h != "0f" {
		t.Error(j, h, ok)
	}
	parsers := map[string]func(string) bool{
		"object":     func(k string) bool { _, _, ok := ParseObjectKey(k); return ok },
		"checkpoint": func(k string) bool { _, _, ok := ParseCheckpointKey(k); return ok },
		"page":       func(k string) bool { _, _, _, ok := ParsePageKey(k); return ok },
		"segment":    func(k string) bool { _, _, _, _, ok := ParseSegmentKey(k); return ok },
		"job config": func(k string) bool { _, _, ok := ParseJobConfigKey(k); return ok },
	}
	topic := "topics/" + id.String()
	for _, key := range []string{
		"", "journal/", "journal/0000/", "journal/0000/head.json", "journal/00000/00000000000000000000.kfs",
		"journal/0000/00000000000000000000.kfm", "journal/0000/0000000000000000000.kfs", "journal/0000/-0000000000000000001.kfs",
		"journal/+001/00000000000000000000.kfs", "journal/0000/99999999999999999999.kfs", "journal/0000/00000000000000000000.kfs/x",
		"journal/0000/checkpoint-1.kfm", "journal/0000/index-00000000000000000009-00000000000000000003.kfm",
		topic + "/t/07/segment-00000000000000000008.kfs", topic + "/t/-1/segment-00000000000000000008.kfs",
		topic + "/../1/segment-00000000000000000008.kfs", topic + "/t/1/segment-00000000000000000008.index",
		topic + "/t/1/segment-18446744073709551615.kfs", topic + "=/t/1/segment-00000000000000000008.kfs", topic + "/t/2147483648/segment-00000000000000000008.kfs",
		"jobs/a.json", "jobs/a/config-0f", "jobs/a/0f.json", "jobs/config-0f.json", "jobs/../config-0f.json", "jobs/a/b/config-0f.json", "jobs/a/config-0/f.json",
	} {
		for name, parse := range parsers {
			if parse(key) {
				t.Errorf("%q was taken as the key of a %s", key, name)
			}
		}
	}
}

func TestKeysRefuseUnvalidatedNames(t *testing.T) {
	for name, f := range map[string]func(){
		"segment": func() { SegmentKey(sampleID(1), "../../evil", 0, 0) },
		"index":   func() { IndexKey(sampleID(1), "a/b", 0, 0) },
		"job":     func() { JobKey("..") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: a key was built", name)
				}
			}()
			f()
		}()
	}
}
