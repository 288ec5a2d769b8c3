// Package broker is a Kafka broker whose only durable store is an object store: it listens, reads requests, and hands them to the
// API handlers of broker/api, which stand on the journals of broker/journal.
//
// It promises that the answers of a connection come in the order of its requests, that records of one connection are appended in the
// order in which they arrived, and that all connections together use no more memory for requests and answers than configured,
// whatever clients send. It never answers on behalf of a journal that it does not own, and never dies of what a client sends: a
// request that makes no sense costs its connection, with the reason in the log.
//
// Server, connection and Budget are the network and its memory; Broker puts the parts together, and its tenure says when it may serve.
package broker
