package audit

import (
	"encoding/json"
	"fmt"

	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// stateJSON is a State between two processes of one version. Records are
// sorted by type; an audit needs no other order.
type stateJSON struct {
	Instance    *journal.Instance    `json:"instance,omitempty"`
	Counters    []journal.Counter    `json:"counters"`
	Finished    []journal.Source     `json:"finished"`
	Checkpoints []journal.Checkpoint `json:"checkpoints"`
	Parts       []journal.Part       `json:"parts"`
	Uploads     []journal.Upload     `json:"uploads,omitempty"`
	Retired     []journal.Part       `json:"retired"`
	Deleted     []uint64             `json:"deleted"`
	Sources     []Source             `json:"sources"`
}

// MarshalJSON implements json.Marshaler.
func (s State) MarshalJSON() ([]byte, error) {
	j := stateJSON{Retired: s.Retired, Deleted: s.Deleted, Sources: s.Sources}
	for _, r := range s.Records {
		switch r := r.(type) {
		case journal.Instance:
			j.Instance = &r
		case journal.Counter:
			j.Counters = append(j.Counters, r)
		case journal.Source:
			j.Finished = append(j.Finished, r)
		case journal.Checkpoint:
			j.Checkpoints = append(j.Checkpoints, r)
		case journal.Part:
			j.Parts = append(j.Parts, r)
		case journal.Upload:
			j.Uploads = append(j.Uploads, r)
		default:
			return nil, fmt.Errorf("record %T is not known here", r)
		}
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *State) UnmarshalJSON(data []byte) error {
	var j stateJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return err
	}
	*s = State{Retired: j.Retired, Deleted: j.Deleted, Sources: j.Sources}
	if j.Instance != nil {
		s.Records = append(s.Records, *j.Instance)
	}
	s.Records = appendAll(s.Records, j.Counters)
	s.Records = appendAll(s.Records, j.Finished)
	s.Records = appendAll(s.Records, j.Checkpoints)
	s.Records = appendAll(s.Records, j.Parts)
	s.Records = appendAll(s.Records, j.Uploads)
	return nil
}

func appendAll[R journal.Record](to []journal.Record, from []R) []journal.Record {
	for _, r := range from {
		to = append(to, r)
	}
	return to
}
