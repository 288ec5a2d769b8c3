// Package broker is a Kafka broker whose only durable store is an object store: it listens, reads requests, and hands them to the
// API handlers of broker/api, which stand on the journals of broker/journal.
//
// It promises that the answers of a connection come in the order of its requests, that records of one connection are appended in the
// order in which they arrived, and that all connections together use no more memory for requests and answers than configured,
// whatever clients send. It never answers on behalf of a journal that it does not own, and never dies of what a client sends: a
// request that makes no sense costs its connection, with the reason in the log.
//
// Server, connection and Budget are the network and its memory. Broker puts the parts together:
//
//	admit.go        when clients are served           coordinators.go  groups, where their journal is
//	controller.go   changes of the cluster's state    forward.go       the same, asked of another broker
//	deletion.go     topics that lie on many journals  housekeeping.go  what goes on beside a journal
//	store.go        what a store that falters means   wiring.go        journals and cluster as handlers see them
package broker
