package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/sinkfs/sinkfs/lifecycle/audit"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
	"github.com/sinkfs/sinkfs/lifecycle/spool"
)

// Account is all that an audit has to know of the instance, at this moment.
func (in *Instance) Account() (audit.State, error) {
	var s audit.State
	// Sources first: what is cut from them meanwhile is in the records.
	sources, err := audit.Sources(in.tree)
	if err != nil {
		return s, err
	}
	s.Sources = sources
	err = in.journal.Load(func(r journal.Record) error {
		s.Records = append(s.Records, r)
		return nil
	})
	if err != nil {
		return s, err
	}
	s.Retired, s.Deleted, err = retired(in.cfg.StateDir)
	return s, err
}

// AccountOf is the Account of a state directory that no mount uses; the
// caller holds its lock. A state directory without a journal is
// os.ErrNotExist.
func AccountOf(c Config) (audit.State, error) {
	var s audit.State
	c.setDefaults()
	err := journal.Read(filepath.Join(c.StateDir, "journal"), func(r journal.Record) error {
		s.Records = append(s.Records, r)
		return nil
	})
	if err != nil {
		return s, c.ofJournal(err)
	}
	empty := len(s.Records) == 0
	tree, err := spool.Open(c.SpoolDir, c.Log)
	if err != nil {
		return s, fmt.Errorf("spool %s: %w: %w", c.SpoolDir, ErrState, err)
	}
	s.Sources, err = audit.Sources(tree)
	if err := errors.Join(err, tree.Close()); err != nil {
		return s, err
	}
	if empty && (len(s.Sources) > 0 || newEvidence(c.StateDir, c.Log).exists()) {
		return s, c.emptyJournal(len(s.Sources))
	}
	s.Retired, s.Deleted, err = retired(c.StateDir)
	return s, err
}

// retired are the finished parts of the retained manifests, which the journal
// need not have any more, and those of them that were deleted since.
func retired(stateDir string) (parts []journal.Part, gone []uint64, err error) {
	files, err := filepath.Glob(filepath.Join(stateDir, "manifests", "*.json"))
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		var m Manifest
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // past retention meanwhile
		}
		if err == nil {
			err = json.Unmarshal(data, &m)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("manifest %s: %w", file, err)
		}
		for _, f := range m.Files {
			if f.State == deleted {
				gone = append(gone, f.Part)
			} else {
				parts = append(parts, retiredPart(f))
			}
		}
	}
	return parts, gone, nil
}

// retiredPart is a part as far as a manifest has it. It does not say how many
// attempts there were, so none is one too many.
func retiredPart(f PartStatus) journal.Part {
	return journal.Part{
		ID: f.Part, Sink: strings.TrimPrefix(f.Sink, "/"), Bucket: f.Bucket, Key: f.Key, Bytes: f.Bytes,
		Records: f.Records, State: journal.Finished, Checkpoint: f.Checkpoint, Checksum: f.Checksum, Attempt: math.MaxUint32,
	}
}
