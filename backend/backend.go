// Package backend is what sinkfs asks of a place that holds finished files:
// an object store, a directory, anything that can publish a whole object
// under a name that did not exist before.
//
// A driver is naive. It knows no lifecycle, repeats only calls that change
// nothing and the parts of an upload, and classifies its errors with the kinds
// in errors.go: the lifecycle decides what is tried again. Every driver passes
// backendtest.Run.
package backend

import (
	"context"
	"io"
	"os"
	"strings"
	"time"
)

// Key names an object below the target: slash separated, no leading slash,
// no empty, "." or ".." element.
type Key string

// Meta are the user metadata of an object: how fsck explains it and a lost
// journal is rebuilt. Keys are lower case letters, digits and '-'; values are
// any UTF-8 (a driver whose wire takes less encodes them); keys and values
// together are at most MaxMeta bytes.
type Meta map[string]string

// MaxMeta bounds the user metadata of one object, in bytes. ext4 with small
// blocks refuses an xattr of 1 KiB.
const MaxMeta = 512

// Object is one finished file to be.
type Object struct {
	Key  Key
	Size int64 // bytes of the body
	// Open returns the body from its first byte. A driver may call it again
	// after the reader before was closed; each call yields the same bytes.
	Open func() (io.ReadCloser, error)
	// Checksum of the body in the form of Info.Checksum, where the caller knows
	// it; a driver may have the store check it, and need not read twice.
	Checksum string
	// Alive may be nil. A driver that reads ahead calls it as bytes leave for
	// the store, from any goroutine: a slow line is no stall.
	Alive func()
	Meta  Meta
	// Mode, UID, GID and ModTime are the writer's; a store without owners
	// keeps them in its own metadata and gives them back in Info.
	Mode     uint32
	UID, GID uint32
	ModTime  time.Time
}

// Info is what a store knows of one object or directory.
type Info struct {
	Key      Key
	Dir      bool // an implied or real directory: only Key is set
	Size     int64
	Checksum string // "crc32c:1a2b3c4d"; empty when the store keeps none
	Meta     Meta   // nil from List, and for foreign objects
	Owned    bool   // Mode, UID and GID are the writer's, kept by sinkfs
	Mode     uint32
	UID, GID uint32
	ModTime  time.Time
}

// PathIdentity begins the Identity of a directory that takes none of ours:
// later it may take one.
const PathIdentity = "path:"

// ChecksumsDiffer compares two checksums in the form of Info.Checksum. Those of
// two algorithms, or none, say nothing.
func ChecksumsDiffer(a, b string) bool {
	algorithmA, _, okA := strings.Cut(a, ":")
	algorithmB, _, okB := strings.Cut(b, ":")
	return okA && okB && algorithmA == algorithmB && a != b
}

// Properties say what a store can do, as data.
type Properties struct {
	URL        string // as users write it, escaped (Escape), without secrets
	Identity   string // stays equal as long as it is the same place
	CreateOnly bool   // the store itself refuses to overwrite; see Properties()
	StageAbove int64  // bodies larger than this are staged before the commit
	MaxKey     int    // longest key, in bytes
	Parallel   int    // how many calls at a time do it good
	Local      bool   // asking is as cheap as remembering; the store is a FileOpener
	Grows      bool   // it takes an object before its end is known; the store is a Grower
}

// FileOpener is what a store with Properties.Local offers besides: a
// descriptor of a finished file, which a reader may hand to the kernel. It
// follows no link and opens only regular files; errors are those of Open.
type FileOpener interface {
	OpenFile(ctx context.Context, k Key) (*os.File, error)
}

// Store is one target. All methods may be called concurrently; all return
// promptly with the context's error when it ends.
type Store interface {
	// Properties never touches the network and never changes, but for
	// CreateOnly: it turns false once a store is found out to overwrite. Then
	// the driver looks before it writes.
	Properties() Properties

	// Check reaches the target with the credentials at hand and proves that
	// it can be written: once at mount, and to learn that an outage is over.
	// It leaves nothing behind that a listing shows.
	Check(ctx context.Context) error

	// Put publishes o as a whole, durably, or not at all. It never
	// overwrites: ErrExist when the key is taken, by whomever, itself
	// included: a repeated Put whose first answer was lost. Any other error
	// leaves the outcome unknown; the caller looks with Stat. An error of the
	// body is wrapped without a kind, and then nothing was published.
	Put(ctx context.Context, o Object) (Info, error)

	// Stage brings the bytes of o to the store, invisible to every listing,
	// so that the commit is one short call.
	Stage(ctx context.Context, o Object) (Staged, error)

	// Stat returns what stands at the key, with Meta: the proof of a commit
	// whose answer was lost, so what it says of our own objects is durable.
	// A directory answers with Dir. ErrNotExist only when Put could publish
	// there: what is neither file nor directory is a foreign object.
	Stat(ctx context.Context, k Key) (Info, error)

	// Open reads n bytes from off, to the end when n < 0; past the end there
	// are none. A directory is ErrNotExist. Errors of the reader have kinds
	// too: a connection that breaks is ErrTransient.
	Open(ctx context.Context, k Key, off, n int64) (io.ReadCloser, error)

	// List calls fn for each child of the directory, in byte order of the
	// names, from the first name greater than after. "" is the target
	// itself, which exists even when empty; a directory that does not lists as
	// ErrNotExist. A name that is both is told twice, the object first. It
	// stops with fn's error, which it returns as it is.
	List(ctx context.Context, dir Key, after string, fn func(name string, i Info) error) error

	// Delete removes one object; ErrNotExist when it is not there. Only gc
	// and allow_delete call it.
	Delete(ctx context.Context, k Key) error
}

// Staged is an object whose bytes are in the store but which nobody sees.
type Staged interface {
	// Checksum is that of the bytes as they were read, in the form of
	// Info.Checksum: whoever stages a body need not take it too. A store that
	// keeps none tells it all the same.
	Checksum() string
	// Commit publishes it under its key, never overwriting, with the errors
	// of Put. It may be called again after an error.
	Commit(ctx context.Context) (Info, error)
	// Abort gives the bytes up. After a Commit that succeeded it does nothing.
	Abort(ctx context.Context) error
}
