//go:build integration

package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/cmd/firn/chaos"
	"github.com/firn-io/firn/kfs"
)

// holds matches an object of a journal that has an entry for which ok.
func holds[E kfs.Entry](ok func(E) bool) chaos.Match {
	return func(r chaos.Request) bool {
		if !journalPut(r) {
			return false
		}
		m, _, _, err := kfs.OpenTail(r.Body(), int64(len(r.Body())))
		return err == nil && slices.ContainsFunc(m.Entries, func(entry kfs.Entry) bool {
			e, is := entry.(E)
			return is && ok(e)
		})
	}
}

func anyOf[E kfs.Entry](E) bool { return true }

// catchAny holds the next request of any broker that matches, when provoke has been begun, and tells whose it is.
func (f *fleet) catchAny(match chaos.Match, provoke func()) (broker int, x *chaos.Exchange) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
	defer cancel()
	type hit struct {
		broker int
		x      *chaos.Exchange
	}
	hits := make(chan hit, fleetSize)
	var traps []*chaos.Caught
	var waiting sync.WaitGroup
	for i, store := range f.stores {
		trap := store.Catch(match)
		traps = append(traps, trap)
		waiting.Go(func() {
			if x, err := trap.Wait(ctx); err == nil {
				hits <- hit{i, x}
			}
		})
	}
	go provoke()
	var first hit
	select {
	case first = <-hits:
	case <-ctx.Done():
	}
	cancel()
	waiting.Wait()
	for _, trap := range traps {
		trap.Give()
	}
	close(hits)
	for other := range hits {
		other.x.Reply()
	}
	if first.x == nil {
		f.t.Fatal("no broker has sent what was to be caught")
	}
	return first.broker, first.x
}

// bothWays are a request that has not reached the store when its broker is killed, and one that has landed there.
var bothWays = map[string]bool{"before": false, "behind": true}

// killAt kills whatever broker does something, and wants everything to go on. provoke makes it do so.
func (a *audit) killAt(what, when string, match chaos.Match, provoke func()) {
	a.t.Helper()
	i, x := a.catchAny(match, provoke)
	if bothWays[when] {
		if err := x.Land(a.t.Context()); err != nil {
			a.t.Fatal(err)
		}
	}
	a.all[i].kill()
	x.Drop()
	a.t.Logf("broker %d is killed %s %s: %s %s", i+1, when, what, x.Verb, x.Key)
	a.start(i)
	a.goesOn("when a broker was killed " + when + " " + what)
}

// killAtBoth is killAt both ways, where nothing has to be provoked.
func (a *audit) killAtBoth(what string, match chaos.Match) {
	a.t.Helper()
	for when := range bothWays {
		a.killAt(what, when, match, func() {})
	}
}

// startHistory begins an audit on brokers that settle and delete at once.
func startHistory(t *testing.T) *audit {
	t.Helper()
	a := startFleetWith(t, shortHistory).audit()
	a.goesOn("at first")
	return a
}

func TestChaosKilledInSettling(t *testing.T) {
	a := startHistory(t)
	a.killAtBoth("a segment", chaos.Key(http.MethodPut, "topics/", ".kfs"))
	a.killAtBoth("a segment's index", chaos.Key(http.MethodPut, "topics/", ".index"))
	a.killAtBoth("what says that records are settled", holds(anyOf[kfs.Settled]))
	a.finish()
}

func TestChaosKilledInUpkeep(t *testing.T) {
	a := startHistory(t)
	a.killAtBoth("a checkpoint", chaos.Key(http.MethodPut, "journal/", "checkpoint-"))
	a.killAtBoth("deleting an object", chaos.Key(http.MethodDelete, "journal/", ".kfs"))
	a.finish()
}

func TestChaosKilledInTrimming(t *testing.T) {
	a := startHistory(t)
	admin := kadm.NewClient(a.client())
	trim := func(to int64) error {
		offsets := kadm.Offsets{}
		for partition := range int32(auditPartitions) {
			offsets.AddOffset(byFranz, partition, to, -1)
			a.ledger.Trimmed(chaos.Partition{Topic: byFranz, Number: partition}, to)
		}
		answers, err := admin.DeleteRecords(t.Context(), offsets)
		return errors.Join(err, answers.Error())
	}
	to := int64(10)
	for when := range bothWays {
		a.killAt("a trim", when, holds(anyOf[kfs.Trim]), func() { trim(to) }) // who asked is not told what became of it
		eventually(t, func() error { return trim(to) })
		starts, err := admin.ListStartOffsets(t.Context(), byFranz)
		if err != nil {
			t.Fatal(err)
		}
		starts.Each(func(o kadm.ListedOffset) {
			if o.Offset != to {
				t.Errorf("partition %d begins at %d, and was trimmed to %d", o.Partition, o.Offset, to)
			}
		})
		to += 10
	}
	a.finish()
}

func TestChaosKilledInTopicDeletion(t *testing.T) {
	a := startHistory(t)
	admin := kadm.NewClient(a.client())
	for what, match := range map[string]func(name string) chaos.Match{
		"the word that a topic is being deleted": func(name string) chaos.Match { return holds(topicIs(name, kfs.TopicDeleting)) },
		"the end of a topic in a journal":        func(string) chaos.Match { return holds(anyOf[kfs.Ended]) },
		"the word that a topic's name is free":   func(name string) chaos.Match { return holds(topicIs(name, kfs.TopicDeleted)) },
	} {
		for when := range bothWays {
			name := "doomed-" + strings.ReplaceAll(when+" "+what, " ", "-")
			name = strings.ReplaceAll(name, "'", "")
			a.fill(name)
			a.killAt(what, when, match(name), func() { admin.DeleteTopic(t.Context(), name) }) // who asked is not told what became of it
			eventually(t, func() error {
				_, err := admin.DeleteTopic(t.Context(), name)
				if errors.Is(err, kerr.UnknownTopicOrPartition) {
					return nil
				}
				return err
			})
			a.refill(name)
		}
	}
	a.finish()
}

// topicIs picks what journal 0 says of a topic.
func topicIs(name string, state kfs.TopicState) func(kfs.Topic) bool {
	return func(e kfs.Topic) bool { return e.Name == name && e.State == state }
}

// fill makes a topic with a record in each partition.
func (f *fleet) fill(topic string) {
	f.create(topic)
	client := f.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer client.Close()
	for partition := range int32(auditPartitions) {
		if err := client.ProduceSync(f.t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte("gone")}).FirstErr(); err != nil {
			f.t.Error(err)
		}
	}
}

// refill makes a topic again that was deleted: it begins at offset 0, with nothing of what was there.
func (f *fleet) refill(topic string) {
	f.t.Helper()
	eventually(f.t, func() error {
		created, err := kadm.NewClient(f.client()).CreateTopics(f.t.Context(), auditPartitions, -1, nil, topic)
		if err == nil {
			err = created.Error()
		}
		return err
	})
	client := f.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	for partition := range int32(auditPartitions) {
		record := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("new")}
		if err := client.ProduceSync(f.t.Context(), record).FirstErr(); err != nil || record.Offset != 0 {
			f.t.Errorf("%s/%d: the first record is at offset %d, %v", topic, partition, record.Offset, err)
		}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), waitLimit)
	defer cancel()
	for n := 0; n < auditPartitions; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			f.t.Fatalf("%s: %d records were read: %v", topic, n, fetches.Err())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			if string(r.Value) != "new" {
				f.t.Errorf("%s/%d offset %d: %s", topic, r.Partition, r.Offset, r.Value)
			}
		})
	}
}
