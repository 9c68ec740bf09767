package lifecycle

import (
	"path"
	"strings"
	"time"
)

// Assigner chooses the bucket of a record. The string it returns is the
// bucket's identity; Dir makes a directory of it.
type Assigner interface {
	// Assign is called with the time at which the record's end was seen. An
	// assigner that is not ByRecord gets a nil record and is called once for
	// all records that were seen together.
	Assign(record []byte, seen time.Time) string
	ByRecord() bool
}

// bucketDir is the directory below the sink that a bucket's parts go to: a
// relative path that never climbs out. A backslash is a slash, as in Flink.
func bucketDir(bucket string) string {
	return strings.TrimPrefix(path.Clean("/"+slashes(bucket)), "/")
}

func slashes(bucket string) string { return strings.ReplaceAll(bucket, `\`, "/") }

// BasePath puts everything into the directory that the program chose.
type BasePath struct{}

// Assign implements Assigner.
func (BasePath) Assign([]byte, time.Time) string { return "" }

// ByRecord implements Assigner.
func (BasePath) ByRecord() bool { return false }
