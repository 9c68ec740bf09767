package audit

import (
	"fmt"
	"strconv"

	"github.com/sinkfs/sinkfs/backend"
)

// What the lifecycle writes on its objects and into its journal.
const (
	metaInstance = "sinkfs-instance"
	metaPart     = "sinkfs-part"
	metaN        = "sinkfs-n"
	metaSink     = "sinkfs-sink"
	metaAttempt  = "sinkfs-attempt"

	partIDs   = "\x00parts" // the counter of part ids
	manifests = "_sinkfs/"  // the directory of manifests
)

// label is what an object of ours says of itself.
type label struct {
	instance, sink string
	sinkKnown      bool // left out where there is no room
	part, n        uint64
	attempt        uint64
}

// readLabel returns false when the metadata are not what we write.
func readLabel(m backend.Meta) (label, bool) {
	l := label{instance: m[metaInstance]}
	l.sink, l.sinkKnown = m[metaSink]
	ok := true
	for key, to := range map[string]*uint64{metaPart: &l.part, metaN: &l.n, metaAttempt: &l.attempt} {
		v, err := strconv.ParseUint(m[key], 10, 64)
		*to = v
		ok = ok && err == nil
	}
	return l, ok
}

func (l label) String() string {
	s := fmt.Sprintf("part %d, number %d", l.part, l.n)
	if l.sinkKnown {
		s += fmt.Sprintf(" of sink /%s", l.sink)
	}
	if l.attempt > 0 {
		s += fmt.Sprintf(", attempt %d", l.attempt)
	}
	return s + ", of instance " + l.instance
}
