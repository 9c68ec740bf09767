package journal

import "time"

// Record is one typed entry. Writing it again under the same identity
// replaces it.
type Record interface{ record() }

// SourceID names a spool file for its whole life.
type SourceID struct {
	Ino uint64 `json:"ino"`
	Gen uint32 `json:"gen"`
}

// Range is a contiguous piece of a source, in physical offsets.
type Range struct {
	Off int64 `json:"offset"`
	Len int64 `json:"length"`
}

// Instance is written once per state directory and when the target was
// reached for the first time.
type Instance struct {
	Version  int       `json:"version"`          // of the records
	UID      string    `json:"uid"`              // in every name that the instance makes
	Former   []string  `json:"former,omitempty"` // uids from before the journal was rebuilt
	Target   string    `json:"target"`           // URL as configured
	Identity string    `json:"identity"`
	SpoolIno uint64    `json:"spool_ino"` // inode of the spool's root: a copied state directory has another
	Created  time.Time `json:"created"`
	Reached  bool      `json:"reached"` // the target answered at least once
	Sinks    []string  `json:"sinks"`   // paths, sorted, at the last start
}

// Counter is the next part number of a sink.
type Counter struct {
	Sink string `json:"sink"`
	Next uint64 `json:"next"`
}

// Source is what is finished of one spool file: ranges that never go out
// again. It leaves the journal with the spool file.
type Source struct {
	ID       SourceID `json:"id"`
	Path     string   `json:"path"`
	Finished []Range  `json:"finished"`
	Marks    []Mark   `json:"marks,omitempty"`
	Leaving  bool     `json:"leaving,omitempty"` // all is finished: the spool file is about to be removed

	// Missed is when the spool file was first found missing though it was not
	// leaving; zero while it is there.
	Missed time.Time `json:"missed,omitzero"`
}

// Mark is a place in a source that no segment spans: the bytes before Off,
// back to the mark before, belong to the directory Dir, and end inside a
// record when Torn.
type Mark struct {
	Off  int64  `json:"offset"`
	Dir  string `json:"dir"` // of the source, from the mount's root
	Torn bool   `json:"torn,omitempty"`
}

// PartState is where a sealed part stands.
type PartState string

// The states of a journaled part. An in-progress part has no record.
const (
	Pending     PartState = "pending"     // sealed, in no prepared checkpoint
	Committing  PartState = "committing"  // in a prepared checkpoint
	Finished    PartState = "finished"    // in the target
	Quarantined PartState = "quarantined" // cannot be published; Error says why
)

// PartRange is one range of a part, with the path the source had.
type PartRange struct {
	Source SourceID `json:"source"`
	Path   string   `json:"path"`
	Range
}

// Part is one finished file to be.
type Part struct {
	ID         uint64      `json:"id"` // unique in the instance
	Sink       string      `json:"sink"`
	N          uint64      `json:"n"` // number in the name, per sink
	File       bool        `json:"file,omitempty"`
	Bucket     string      `json:"bucket"`
	Key        string      `json:"key"`
	Ranges     []PartRange `json:"ranges"`
	Bytes      int64       `json:"bytes"`
	Records    int64       `json:"records"`
	State      PartState   `json:"state"`
	Checkpoint uint64      `json:"checkpoint"` // that prepared it, 0: none yet
	Attempt    uint32      `json:"attempt"`
	Checksum   string      `json:"checksum,omitempty"`
	Mode       uint32      `json:"mode"`
	UID        uint32      `json:"uid"`
	GID        uint32      `json:"gid"`
	ModTime    time.Time   `json:"mtime"` // of the last record
	Sealed     time.Time   `json:"sealed"`
	Done       time.Time   `json:"done"`
	Error      string      `json:"error,omitempty"`
}

// Upload is what is sent to the target of a part that still grows: known
// before anything of it is sent, and until its part is sealed under the same
// id and key, or until nothing of it is left at the target.
type Upload struct {
	ID    uint64    `json:"id"` // of the part to be
	Sink  string    `json:"sink"`
	N     uint64    `json:"n"`
	Key   string    `json:"key"`
	Begun time.Time `json:"begun"`
}

// CheckpointState is the outcome of a checkpoint.
type CheckpointState string

// Prepared is the point of no return; the others are how it ended.
const (
	Prepared CheckpointState = "prepared"
	Complete CheckpointState = "complete"
	Partial  CheckpointState = "partial"
	Declined CheckpointState = "declined"
)

// Excuse says which bytes a checkpoint did not publish, and why.
type Excuse struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

// Failure is one part that a checkpoint did not get to its place.
type Failure struct {
	Path  string `json:"path"`
	Key   string `json:"key"`
	Error string `json:"error"`
}

// Checkpoint is one checkpoint, as its caller is told. Its parts are the
// Part records that carry its ID.
type Checkpoint struct {
	ID         uint64          `json:"id"`
	State      CheckpointState `json:"state"`
	Trigger    string          `json:"trigger"`
	Started    time.Time       `json:"started"`
	DurationMS int64           `json:"duration_ms"`
	Parts      int             `json:"parts"`
	Bytes      int64           `json:"bytes"`
	Records    int64           `json:"records"`
	LeftOut    []Excuse        `json:"left_out"`
	Failed     []Failure       `json:"failed"`
	Error      string          `json:"error"`
}

// DropPart removes a part: declined for good, or finished and past retention.
type DropPart struct{ ID uint64 }

// DropUpload forgets an upload: it is its part's, or it is gone.
type DropUpload struct{ ID uint64 }

// DropSource forgets a source whose spool file is gone.
type DropSource struct{ ID SourceID }

// DropCheckpoint removes a checkpoint past retention.
type DropCheckpoint struct{ ID uint64 }

func (Instance) record()       {}
func (Counter) record()        {}
func (Source) record()         {}
func (Part) record()           {}
func (Upload) record()         {}
func (Checkpoint) record()     {}
func (DropPart) record()       {}
func (DropUpload) record()     {}
func (DropSource) record()     {}
func (DropCheckpoint) record() {}
