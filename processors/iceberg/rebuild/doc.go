// Package rebuild makes a table of a job anew from the log, with a changed job file, beside readers and the job at work, and puts it in
// the table's place: what `firn rebuild` does.
//
// It promises that every offset is in the table once before, in and after the swap, as a row or as a dead letter; that nothing changes for
// readers before the swap; and that it can be killed at any point and started again.
//
// # How
//
// The new rows are committed to a branch of the table, or to a table of their own, by the job's own pipeline and sink, under the job's own name: catalog.Aside shows
// them the branch as if it were main, with a progress of its own. So the branch has receipts and a position as main has, and the
// commit protocol holds there word for word: killed, the rebuild goes on where the branch stands. Dead letters go to a branch of the
// dead-letter table in the same way.
//
//	main         ─── a ─── b ─── c ─── d            d ── tag before_rebuild_…
//	                                      ⇒
//	firn_rebuild A ───────── B ───────── C          main ── C ─── the job goes on
//
// # The swap
//
// It is made when the branch stands, for every source, where main stands, or beyond. One commit sets main to the head of the branch, a
// tag to the former head of main, and the job's progress to that of the branch. It is pinned to both heads:
//
//   - Whatever the job had committed before is made anew on the branch, for the positions were compared for the head that is pinned.
//   - Whatever the job sends at the same time is pinned to the former head: it lands before, and the swap does not and is tried again when
//     the branch has caught up; or it never lands.
//   - After it, the position that the job finds is that of the newest receipt in the ancestry, which is the branch's.
//   - If the answer is lost, the table tells: it has a property that names the last commit of the rebuild.
//
// Rows of backfills are among those of the branch, so their progress goes with the swap. A backfill at work halts, for the job now
// accounts for its offsets.
//
// # The pause
//
// Reading what the job has committed takes longer than the job takes to commit again. So the rebuild follows it until a round leaves more
// than half of what there was to read before it, and tries the swap. If the job was faster, it is asked to wait (catalog.Pause): a
// property of the table, which every committer looks at before it begins a commit. A commit that has begun goes on; it is the last of its
// committer. Then the table stands still, the rest, which is little, is read, and the swap takes the property away. The job tries its commit
// again, or reads it again, and finds the swap or a table that is paused no more. If the rest takes longer than a minute, or the
// rebuild fails, or is killed, the job goes on: at once, or when the pause is over by the job's own clock.
//
// No guarantee rests on the pause. A job that does not know of it, or has another time, or an engine that compacts the table, commits, and
// the swap, which is pinned as ever, is not made. Only that the rebuild gets there rests on it.
//
// # A table of its own
//
// A table has one schema for all its branches. Where the new rows need another one, or other partitions, they go to a table {table}__rebuild,
// which has a location of its own, and the identity of the table by which the job's object in the store knows it. When it stands where the
// table stands, for which the job may have to wait likewise, the table is sealed by a commit that is pinned to that head: no request lands
// behind it, and every job halts that looks at it.
// From there on it goes forward only: the table is renamed to {table}__before_rebuild_…, then the other to its name. A catalog renames
// one table at a time, so in between there is none of the name, in SQLite for the time between two transactions, in a REST catalog for that between
// two requests: readers get an error, and no job makes a new table in the place of one that it has known. Killed there, the next run renames.
//
// Whether a catalog does what is needed, branches with pins of their own or renaming, is tried on a scratch table before anything is begun.
//
// # Giving up
//
// A rebuild that is given up while another process swaps it in is swapped in or gone, never half of both. A branch is dropped, and the swap is
// pinned to its head: the second of the two finds that there is nothing left to do. For a table of its own the decision is made in the table
// that is there, by the seal, or by a commit that says that this other table never takes its place (catalog.Forgo); both are pinned to the
// head, so one of them lands, and only after it is renamed, or dropped.
//
// # Two processes
//
// The rows and the dead letters of a rebuild are two tables, and no commit reaches both. What one process takes away another may be about to need, or
// about to make again. So the table says which rebuild of it is under way, by a name that no other has (catalog.Begin), and all that is made of it is
// marked with that name, from its first commit on:
//
//   - A process takes part in one rebuild, the one that it has found under way or has begun. It refuses places with another mark, and what it commits is pinned
//     to the head that it has looked at.
//   - Only the rebuild that is under way is swapped in: the swap and the seal look for its name in the table that they are pinned to.
//   - It begins with a commit to the table, which is pinned to its head: no swap of another one that was sent before lands behind it.
//   - The name goes, for ever, with the swap, or when the rebuild is given up; and only then is anything of its mark taken away.
//
// So as long as a rebuild can be swapped in, nothing of it has ever been taken away: it has the dead letters of all its rows, since these are committed
// before the rows, by whichever process. Two that make the same one at a time do no harm: of two commits with one pin one lands, and the other process goes on
// from there. A process whose rebuild was swapped in by another finishes it; one whose rebuild was given up ends with ErrGone. What it was late to make is
// swapped in by nobody, and taken away by it or by the next that begins. What was swapped in says whose dead letters
// are to be dealt with.
//
// # The job
//
// A job at work, or one that starts, may have the former file still, and would add rows as they were before. It halts
// (catalog.Rebuilt), as long as the newest receipt of the table is the rebuild's. A job with the file of the rebuild goes on at
// once, with what it has staged; from then on its file may change as ever.
//
// What a span becomes is decided once. A job commits the dead letters of a span before its rows, so the dead-letter table may be ahead of
// the table when the table stands still. The rebuild reads on to there, and decides that span anew with all others: the job's rows of it
// do not land any more. Dead letters that a job commits later than the rebuild looks, while the swap is on its way, have decided theirs: the job
// with the file of the rebuild finishes that span under the former file, as after every change of a job file.
//
// # Dead letters
//
// Before the swap each dead letter of the rebuild is made to be in the job's dead-letter table, not resolved: it comes, or its mark goes. It comes
// under the name of the job or the backfill that accounts for its offset there. Where the job has begun behind records that the log has, nobody
// does: there it comes as a backfill would bring it, under a name like {job}/backfill/rebuild.0.
// After it all others, of the records that were made anew, are marked as resolved: those records are rows now, or are left out. Between
// the two, and if a rebuild is given up, some records are a row and a dead letter, which verify mentions and dlq retry puts right. The
// table has a property until this is done: the next run does it.
package rebuild
