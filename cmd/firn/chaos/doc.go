// Package chaos stands between processes and what they depend on, and keeps the books. It is for tests that run the real program: a Store is
// an S3 server that fails on command, a Link a connection to etcd that can be cut, and a Ledger holds what producers were told against what
// consumers read.
//
//	store, err := chaos.NewStore("http://127.0.0.1:7070", "firn/lake/") // one for each broker
//	defer store.Close()
//	trap := store.On(chaos.Verb("PUT"), chaos.Every(3, chaos.LoseReply))
//	...
//	trap.Remove()
//
//	caught := store.Catch(chaos.Verb("DELETE")) // the next one, before the server has seen it
//	x, err := caught.Wait(ctx)
//	err = x.Land(ctx) // now it has; the client does not know
//	x.Drop()          // nor will it
//
// Nothing here waits for a time: what a test waits for is a request that has come, or has landed.
//
//	store.go   the S3 server in between    faults.go  what can become of a request
//	link.go    a TCP connection            ledger.go  the books
package chaos
