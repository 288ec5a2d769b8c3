// Package work lets several processes work on one job: each reads some of the partitions, and one commits to a table for all.
//
//	m, err := work.New(work.Config{Job: "events", Leases: leases, Store: store, Name: "host/4711"})
//	cfg.Assignment = m                                  // which partitions the pipeline reads
//	cfg.OpenSink = … m.Wrap(ctx, table, openSink)       // how its commits travel
//	err = m.Run(ctx, pipeline.Run)                      // the process is a worker as long as that runs
//
// It promises that a partition is read by one live worker at a time, as long as etcd and the clocks behave, and that partitions whose
// worker is gone go to others: at once if it ended by itself, else when its lease is over. It never decides what is in a table. Tables keep
// their own positions, and a commit lands only where it begins at them (package catalog); so two workers that both believe to have a
// partition, or two committers, cost work and nothing else. Nothing durable is in etcd.
//
// # Who reads what
//
// A worker says in one key, bound to its session, which partitions it claims:
//
//	jobs/{job}/workers/{worker}   {"version":1,"session":"…","edition":7,"name":"host/4711","claims":{"{topic id}":"0-3,7"}}
//
// All see all keys. Each computes by itself how the partitions that it knows of are spread: evenly, topic by topic, everybody keeping what
// it claims as far as that goes (place). From there it takes small steps:
//
//	mine, and nobody claims it       → claim it
//	claimed, and in a view so        → read it, from the tables' positions on
//	not mine any more                → stop reading it, commit what was read, and then claim it no more
//
// This is a lease for each partition in one request for all of them, so that ten thousand cost no more than one. It excludes as one key for
// each would: what etcd shows is what it held at one moment. Of two workers that put a claim to the same partition, the one whose put came
// later sees both claims, as soon as it sees its own, and does not read; and the other one has not seen its own claim alone unless it was
// first. A claim counts as seen only if the key is of the edition that made it, or a later one. The simulation in claims_test.go holds this
// against delays, deaths and lost sessions.
//
// A worker whose session is lost goes on with what it has: etcd may be away, and reading on is better than standing still. Its key is gone,
// though, so others may claim its partitions. When it is back it looks at their claims before it renews its own, and gives up what they
// have. Until then both read, and of each group of offsets one commit lands.
//
// # Who commits
//
// The committer of a table is the live worker that ranks highest for it (rendezvous hashing), so all that see the same workers agree. When
// one commits to a table and is not its committer,
//
//  1. it puts the group into the store, at jobs/{job}/groups/{worker}/{group}: what Commit was called with, from, to and staged (type group);
//  2. it says so in its second key, jobs/{job}/groups/{worker}: {"handed":[{"id":…,"table":…,"size":…,"crc":…}]};
//  3. the committer reads the group, believing nothing of it, and puts it to those of other workers, and its own, that come within 100 ms or
//     while a commit runs; it makes one Commit of all that begin exactly where the table stands, in order, each whole or not at all;
//  4. it answers in its own second key: committed, moved (the worker begins anew at the table's position), or yourself;
//  5. the worker takes its word back and deletes the object, and then the committer forgets its answer.
//
// Without an answer for three seconds, without a committer, with an answer "yourself", without etcd, or alone, the worker calls Commit of its
// own sink, with the same files. That may meet the committer's own attempt with them, or come after it: then the position has moved, and
// the worker begins there. So nobody deletes files of a group that was handed over. Objects of groups that a worker has left are swept after
// an hour; data files that no snapshot names are for the orphan sweep.
//
// Only sinks that are processor.Portable hand over; the staged output of others means nothing elsewhere, and each commits for itself.
//
// Where records name their tables (package route), each of those is a table of its own here: it has a committer, which opens it by what
// Serve was told if it has no rows for it itself.
//
// # Bounded runs
//
// Workers of a run that has an end (Config.Run) see those with the same end only, below jobs/{job}/runs/{run}/. What they have read to its
// end, and committed, they say in their first key, beside the claims: Member.Say. A worker that has come to the end of its own share waits
// for what the others say of theirs, and takes over what they leave if they die. What is said is about the table and stays true, whatever
// becomes of leases.
//
// # Dead letters
//
// The dead-letter table is a table like others. Letters are committed before the rows of their span, also through a committer, because a
// Commit has ended when it returns. What becomes of a record is decided once: a worker reads the position of the letters again before each
// commit of rows, and begins anew, obeying, where another has committed some. A zombie may commit letters between that look and the rows.
// Then an offset is both, and what counts is the row: the letter is superseded, which firn verify tells and firn dlq retry marks.
package work
