package journal

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	anchorName    = "anchor"
	formatVersion = 1
)

// anchor names a point of the chain, in a file that Badger never touches:
// whatever the journal forgets, it must not be older than this.
type anchor struct {
	Version int    `json:"version"`
	Seq     uint64 `json:"seq"`
	Hash    string `json:"hash"`
	// Log is the newest write-ahead log then. While the database is open, it or
	// a newer one is there, in full size.
	Log walID  `json:"log"`
	Sum string `json:"sum"`
}

// walID is a write-ahead log of Badger's. All are made at one size.
type walID struct {
	Number uint64 `json:"number"`
	Size   int64  `json:"size"`
}

func anchorAt(h head, log walID) anchor {
	return anchor{Version: formatVersion, Seq: h.seq, Hash: h.text(), Log: log}
}

func (h head) text() string { return hex.EncodeToString(h.hash[:]) }

func (a anchor) sum() string {
	s := checksum([]byte(anchorName), fmt.Appendf(nil, "%d %d %s %d %d", a.Version, a.Seq, a.Hash, a.Log.Number, a.Log.Size))
	return hex.EncodeToString(s[:])
}

// readAnchor returns nil when there is none.
func readAnchor(dir string) (*anchor, error) {
	path := filepath.Join(dir, anchorName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("journal: read the anchor: %w", err)
	}
	var a anchor
	if err := json.Unmarshal(b, &a); err != nil || a.Sum != a.sum() {
		return nil, damaged("the anchor %s is altered", path)
	}
	if a.Version > formatVersion {
		return nil, newer(a.Version)
	}
	if same, err := a.encode(); err != nil || !bytes.Equal(same, b) {
		return nil, damaged("the anchor %s is altered", path)
	}
	return &a, nil
}

func (a anchor) encode() ([]byte, error) {
	a.Sum = a.sum()
	b, err := json.Marshal(a)
	return append(b, '\n'), err
}

// write puts a in place of the anchor in dir: an old or the new one is there
// at every instant, and the new one is durable on return.
func (a anchor) write(dir string) error {
	b, err := a.encode()
	if err != nil {
		return fmt.Errorf("journal: encode the anchor: %w", err)
	}
	if err := replaceFile(filepath.Join(dir, anchorName), b); err != nil {
		return fmt.Errorf("journal: move the anchor: %w", err)
	}
	return nil
}

func replaceFile(path string, b []byte) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, b); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

func writeSynced(path string, b []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(b); err != nil {
		return err
	}
	return f.Sync()
}

// syncPath makes a file, or the names in a directory, durable.
func syncPath(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Sync()
}
