// Package metadata is the state that journal 0 carries: the cluster, its topics and their settings, where groups are placed, and which
// producer ids have been given out.
//
// A State is immutable: whoever holds one may read it from any goroutine for as long as it likes. It changes only by entries of the
// journal: a Draft applies entries to a private copy and yields the next State. Planning functions (CreateTopic, DeleteTopic, …) look
// at a State and return the entries that would make a wanted change; they change nothing, and what they planned may be refused when it
// is applied, because another change came first. So each entry is judged twice, by the same rules.
//
// The package does no I/O, starts no goroutine, reads no clock and draws no random numbers.
package metadata
