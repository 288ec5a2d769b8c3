// Package differential finds out where Firn answers otherwise than other Kafka brokers do.
//
// A seed makes a Sequence: some dozens of requests, over a few topics, groups and producers of its own, in all versions that the servers
// under comparison have in common. Every server is played the same sequence. What a client sees of an answer is flattened into Facts, a
// path and a value each, in which everything that may differ from run to run (ids, addresses, times, error texts) has a name or is
// left out. The last steps of every sequence read back what it did: records, offsets, topics, configs, groups.
//
// Facts that differ are compared with the table in explained.go: what is explained there is counted, what is not fails.
//
//	servers, err := differential.Find(ctx, firn, kafka)
//	s := differential.Generate(seed, differential.Common(servers...))
//	ours, err := differential.Play(ctx, servers[0], s)
//	theirs, err := differential.Play(ctx, servers[1], s)
//	differences := differential.Compare("kafka", s, ours, theirs)
//
// It speaks the protocol itself, on plain connections, so that no client library smooths over what it is looking for.
package differential
