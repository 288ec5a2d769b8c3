// Package api answers Kafka requests: one file per API, named by its key, over small interfaces that the broker fills in.
//
// It promises that an answer says only what is durable and what this broker may say: a produce request is acknowledged when the
// journal has it, an offset is named by its partition's leader only. It never encodes by hand (kmsg does), never does network I/O,
// and never trusts a length: a request's form is checked before kmsg decodes it.
//
// Versions: an API is served in every version that kmsg knows, from 0 up, unless its file says why not. A minimum is never raised.
//
// A handler has two halves. Start runs on the connection's reader in the order of arrival and must not block: what has to happen in
// order (enqueueing records, events of a group member) happens there. The Finish that it returns may wait; those of one connection
// run concurrently, and their answers go out in the order of arrival. What a request sees of the earlier ones of its connection:
//
//	Enqueued in Start, and so done in the order of arrival, by a journal or a group:
//	  Produce, OffsetCommit, JoinGroup, Heartbeat, LeaveGroup, SyncGroup, DeleteGroups, OffsetDelete, ConsumerGroupHeartbeat.
//	Begun when all earlier ones are answered, for they change what has no such queue, or read what was just written:
//	  OffsetFetch, CreateTopics, DeleteTopics, DeleteRecords, AlterConfigs, CreatePartitions, IncrementalAlterConfigs;
//	  a Fetch of a session that exists, which builds on the answer before.
//	Beside the earlier ones: all others. They read. Where their answer takes memory (Request.Reserve) it is built when the
//	  earlier ones are answered.
//
// A Kafka broker does not look at a request before the one before it is answered, so a client that sends a ListOffsets behind a Produce
// without waiting is told the new end there, and may be told the old one here.
//
// An example:
//
//	func Heartbeat(g Groups) API {
//		return serve(12, func(ctx context.Context, r *Request) Finish {
//			req := r.Body.(*kmsg.HeartbeatRequest)
//			reply := g.Heartbeat(req)
//			return func(ctx context.Context) (kmsg.Response, error) { return reply.Wait(ctx) }
//		})
//	}
package api
