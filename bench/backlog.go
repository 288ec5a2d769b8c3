package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

const (
	backlogObjects = 10_000 // more than half an hour of a journal that flushes every 200 ms
	backlogLines   = 20     // records in each object, 5 to a partition
)

// backlog measures a job that starts behind 10,000 small objects: with all of them to read, with none, and with some.
func (b *bench) backlog(ctx context.Context) (string, error) {
	rows := [][]string{{"at the start", "records", "wall s", "CPU s", "records / CPU s", "peak MiB"}}
	err := b.withFolder(func(dir string) error {
		if err := b.writeBacklog(ctx, dir); err != nil {
			return err
		}
		job := filepath.Join(dir, "job.yaml")
		if err := os.WriteFile(job, []byte("name: backlog\nsource: {topics: [trickle-000]}\n"), 0o644); err != nil {
			return err
		}
		start := func(what string, records int) error {
			begin := time.Now()
			cmd := exec.CommandContext(ctx, b.firn, "process", "-f", job, "--until", "latest", "--store", "file://"+dir+"/store", "--data", dir+"/tables")
			if text, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("firn process: %w\n%s", err, text)
			}
			used, rate := cpu(cmd).Seconds(), "-"
			if records > 0 {
				rate = number(float64(records)/used, 0)
			}
			rows = append(rows, []string{what, fmt.Sprint(records), number(time.Since(begin).Seconds(), 2), number(used, 2), rate, number(float64(peak(cmd))/1024, 0)})
			return nil
		}
		if err := start(fmt.Sprintf("%d objects to read", backlogObjects), backlogObjects*backlogLines); err != nil {
			return err
		}
		if err := start("nothing to read", 0); err != nil {
			return err
		}
		s, err := b.startBroker(ctx, dir)
		if err != nil {
			return err
		}
		defer s.cmd.Process.Kill()
		err = b.fill(ctx, s, plain, 1, topicName(0))
		_, stopped := s.stop()
		if err := errors.Join(err, stopped); err != nil {
			return err
		}
		return start("one object to read", len(b.lines))
	})
	return table(fmt.Sprintf("Backlog: firn process --until latest on a journal of %d objects with %d records each, from start to exit", backlogObjects, backlogLines), rows), err
}

// writeBacklog makes what a broker would have written in half an hour: it goes on where a broker has stopped, and lets a broker go on behind,
// which writes the checkpoint.
func (b *bench) writeBacklog(ctx context.Context, dir string) error {
	s, err := b.startBroker(ctx, dir)
	if err != nil {
		return err
	}
	defer s.cmd.Process.Kill()
	load := trickling{topics: 1, partitions: 4}
	err = createTopics(ctx, s, load)
	_, stopped := s.stop()
	if err := errors.Join(err, stopped); err != nil {
		return err
	}
	w, err := openBacklog(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	for i := range backlogObjects {
		bodies := make([]record.Builder, load.partitions)
		for n := range backlogLines {
			line := i*backlogLines + n
			bodies[n%load.partitions].Add(time.Now().UnixMilli(), nil, []byte(vary(b.lines[line%len(b.lines)], line/len(b.lines))))
		}
		if err := w.write(bodies); err != nil {
			return err
		}
	}
	if s, err = b.startBroker(ctx, dir); err != nil {
		return err
	}
	defer s.cmd.Process.Kill()
	_, err = s.stop()
	return err
}

// backlogWriter appends objects to journal 0 of a folder that no broker works on.
type backlogWriter struct {
	store string
	last  *kfs.Manifest
	crc   uint32
	topic kfs.Topic
	next  []int64
}

// openBacklog finds the journal's end and its topic, of which there is one.
func openBacklog(store string) (*backlogWriter, error) {
	w := &backlogWriter{store: store}
	for sequence := uint64(0); ; sequence++ {
		object, err := os.ReadFile(filepath.Join(store, kfs.ObjectKey(0, sequence)))
		if errors.Is(err, os.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		if w.last, w.crc, _, err = kfs.OpenTail(object, int64(len(object))); err != nil {
			return nil, err
		}
		for _, e := range w.last.Entries {
			if topic, ok := e.(kfs.Topic); ok {
				w.topic = topic
			}
		}
	}
	if w.last == nil || w.topic.ID.IsZero() {
		return nil, errors.New("the store holds no journal with a topic")
	}
	w.next = make([]int64, len(w.topic.Journals))
	return w, nil
}

// write appends an object with one batch for each partition.
func (w *backlogWriter) write(batches []record.Builder) error {
	m := &kfs.Manifest{Sequence: w.last.Sequence + 1, Created: time.Now().UnixMilli(), Epoch: w.last.Epoch, Writer: w.last.Writer, Previous: w.crc}
	var bodies [][]byte
	for p := range batches {
		batch := &batches[p]
		batch.BaseOffset = w.next[p]
		body, err := batch.AppendTo(nil)
		if err != nil {
			return err
		}
		bodies = append(bodies, body)
		span := kfs.Span{Base: w.next[p], Next: w.next[p] + int64(batch.Len())}
		w.next[p] = span.Next
		m.Segments = append(m.Segments, kfs.Segment{Topic: w.topic.ID, Name: w.topic.Name, Partition: int32(p), Span: span, Records: int32(batch.Len()),
			FirstTimestamp: m.Created, MaxTimestamp: m.Created})
	}
	object, crc, err := kfs.Seal(m, bodies)
	if err != nil {
		return err
	}
	w.last, w.crc = m, crc
	return os.WriteFile(filepath.Join(w.store, kfs.ObjectKey(0, m.Sequence)), object, 0o644)
}
