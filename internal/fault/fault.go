// Package fault names the instants at which a crash or a failure would hurt
// most, so that a test can walk all of them. Without the build tag "faults"
// every point costs nothing and does nothing.
package fault

// Env selects one fault: SINKFS_FAULT=point=action@n, where action is kill,
// error or delay:DURATION and n (default 1) counts the hits of this process;
// n-m is each hit from n to m.
const Env = "SINKFS_FAULT"

// OnceEnv names a file that the fault leaves behind, if it is set: it tells
// that the fault happened, and while it exists no other does, so that the next
// worker lives.
const OnceEnv = "SINKFS_FAULT_ONCE"

// Point is a named instant in the code.
type Point string

// The points, in the order in which a byte passes them.
const (
	SpoolCreate     Point = "spool.create"  // file made, not yet described
	SpoolBase       Point = "spool.base"    // before a base moves
	WriteApplied    Point = "write.applied" // daemon-path bytes in the spool, not yet answered
	Barrier         Point = "checkpoint.barrier"
	SealSynced      Point = "seal.synced"     // ranges durable, not journaled
	SealJournaled   Point = "seal.journaled"  // parts journaled, not staged
	StageDone       Point = "stage.done"      // staged, not prepared
	GrowClaimed     Point = "grow.claimed"    // key journaled, the store was not asked
	GrowBegun       Point = "grow.begun"      // upload begun, nothing sent
	GrowSent        Point = "grow.sent"       // some of a growing part is at the store
	GrowEnded       Point = "grow.ended"      // all of it is, not staged
	GrowAbort       Point = "grow.abort"      // given up, still at the store
	PrepareParts    Point = "prepare.parts"   // parts say committing, the mark is missing
	PrepareMark     Point = "prepare.mark"    // mark written, anchor not
	PrepareAnchor   Point = "prepare.anchor"  // past the point of no return
	JournalRoom     Point = "journal.room"    // an error here is a disk that is too full for a journal transaction
	JournalWrite    Point = "journal.write"   // before a journal transaction
	JournalCommit   Point = "journal.commit"  // after a journal transaction
	StoreBegun      Point = "store.begun"     // upload begun at an object store, nobody knows its id
	StoreTemp       Point = "store.temp"      // bytes written, object unnamed
	StoreLinked     Point = "store.linked"    // object named, directory not synced or answer not told
	CommitAnswered  Point = "commit.answered" // object in the target, not journaled
	FinishParts     Point = "finish.parts"    // parts journaled finished, sources not
	FinishMark      Point = "finish.mark"     // before the complete mark
	ReleaseDone     Point = "release.done"    // done written, not punched
	ReleasePunched  Point = "release.punched"
	UnlinkSource    Point = "spool.unlink"     // before a spool file goes
	HandoverAdopted Point = "handover.adopted" // connection taken over, nothing resent
)

// GrowPoints are those of parts that are sent while they grow, which takes a
// store of its own kind.
func GrowPoints() []Point {
	return []Point{GrowClaimed, GrowBegun, GrowSent, GrowEnded, GrowAbort}
}

// Points lists every other point, for the test that walks them, but for
// JournalRoom: a kill there is one at JournalWrite, and what a full disk does
// is for the tests of the lifecycle.
func Points() []Point {
	return []Point{
		SpoolCreate, SpoolBase, WriteApplied, Barrier, SealSynced, SealJournaled, StageDone,
		PrepareParts, PrepareMark, PrepareAnchor, JournalWrite, JournalCommit, StoreBegun, StoreTemp, StoreLinked,
		CommitAnswered, FinishParts, FinishMark, ReleaseDone, ReleasePunched, UnlinkSource, HandoverAdopted,
	}
}
