package fusefs

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/sinkfs/sinkfs/lifecycle"
)

// defaultWait is how long a trigger waits unless its line says otherwise.
const defaultWait = 5 * time.Minute

// longestLine is more than any line that means something.
const longestLine = 4096

// trigger is a line written to the control file checkpoint.
type trigger struct {
	what lifecycle.Trigger
	wait time.Duration
}

// parseTrigger reads "[now|policy|end] [timeout=DURATION]" and a newline,
// which may be missing. One line a write: two would be two checkpoints with
// one answer.
func parseTrigger(line []byte) (trigger, error) {
	t := trigger{what: lifecycle.Now, wait: defaultWait}
	line, _ = bytes.CutSuffix(line, []byte("\n"))
	if len(line) > longestLine || bytes.ContainsAny(line, "\n\r\x00") {
		return t, fmt.Errorf("more than one line: %w", errBadLine)
	}
	words := strings.Fields(string(line))
	if len(words) > 0 {
		switch w := lifecycle.Trigger(words[0]); w {
		case lifecycle.Now, lifecycle.Policy, lifecycle.End:
			t.what, words = w, words[1:]
		case lifecycle.Timer, lifecycle.Unmount: // not for callers
		}
	}
	if len(words) > 0 {
		if text, ok := strings.CutPrefix(words[0], "timeout="); ok {
			wait, err := time.ParseDuration(text)
			if err != nil || wait <= 0 {
				return t, fmt.Errorf("timeout %q, write one as 30s or 2m: %w", text, errBadLine)
			}
			t.wait, words = wait, words[1:]
		}
	}
	if len(words) > 0 {
		return t, fmt.Errorf("%q, write [now|policy|end] [timeout=DURATION]: %w", words[0], errBadLine)
	}
	return t, nil
}
