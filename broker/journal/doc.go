// Package journal is one journal: an append-only log of objects in an object store, written by one owner at a time, that holds the
// recent records of many partitions, committed group offsets and, in journal 0, the cluster's metadata.
//
// What it promises: an append is acknowledged only when its object is in the store under the next sequence, put there by a
// conditional PUT. What was acknowledged is found there by every later owner, once, at its offset. Two owners at a time cannot both
// acknowledge: the store lets one of them win each sequence, and the other stops. What it never does: guess the outcome of a PUT,
// send other bytes to a key of which the outcome is open, number an offset twice, or read past damage.
//
//	j, err := journal.Open(ctx, journal.Config{Store: store})   // takes the journal over
//	go j.Run(ctx)                                               // writes until ctx ends or another owner is met
//	results, err := j.Append([]journal.Batch{b}).Wait(ctx)      // durable when it returns
//	records, err := j.Read(ctx, id, results[0].Base, 1<<20)
//
// Every decision is made by core, a state machine without I/O, goroutines, clock or randomness: it is fed events with the time at
// which they happened and yields effects; the jitter of its retries comes from a seed. A thin shell (shell.go) carries the effects out and
// feeds back what came of them. So a simulation drives the same core, and replays exactly (simulation_test.go; make soak
// runs 20,000 seeds); mistakes that are made around the core on purpose, it notices (zoo_test.go). Another drives several whole brokers with their
// journals, metadata, groups and clients (brokers_test.go, brokers_zoo_test.go).
//
//	core.go     events, effects, operations on the store, retries       shell.go    goroutines, clock, store
//	end.go      reading the end of the journal, taking over             journal.go  what callers see
//	gather.go   what waits, when a flush is due, deadlines              read.go     records by offset, cache
//	seal.go     checks, offsets, the object                             times.go    offsets by time
//	flight.go   the object on its way, and what became of it            index.go    what readers look things up in
//	sweep.go    deleting                                                orphans.go   segments that nobody lists
//	limit.go    LIMIT
//	settle.go   from the journal into segments                          ranges.go   what retention looks at
//	upkeep.go   checkpoints and index pages                             watch.go    waking those who wait for records
//	state.go    the state that objects add up to                        producers.go  idempotent producers
//	cache.go    what is in memory, reads joined                         metrics.go    what is counted
package journal
