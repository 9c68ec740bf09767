package programs_test

import (
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Without a configuration, parts and whole files lie in the bucket of the
// hour, below the directories that programs make.
func TestDefaultBuckets(t *testing.T) {
	p := mount(t, "checkpoint: {interval: 0s}\n")
	publishes := func(want files) {
		t.Helper()
		before := p.finished
		p.checkpoint("")
		p.finished = p.readTarget()
		got := files{}
		for name, text := range p.finished {
			if _, known := before[name]; !known {
				name = uidPart.ReplaceAllString(name, "-$1")
				got[regexp.MustCompile(`\d{4}-\d\d-\d\d--\d\d/`).ReplaceAllString(name, "HOUR/")] = text
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("finished files (-want +got):\n%s", diff)
		}
	}
	p.run(`mkdir -p eu/de; echo one | tee -a app.log > eu/de/app.log; echo z > dump.tar.gz; mv eu/de/app.log eu/b.log; echo two >> eu/b.log`)
	publishes(files{"HOUR/part-0": "one\n", "eu/HOUR/part-1": "two\n", "eu/de/HOUR/part-2": "one\n", "HOUR/dump.tar.gz": "z\n"})
	// A whole file's name ends with its part, so it can be written again, and
	// goes beside the first one.
	p.run(`! test -e dump.tar.gz; echo y > dump.tar.gz; cp dump.tar.gz eu/x.zip`)
	publishes(files{"HOUR/dump-3.tar.gz": "y\n", "eu/HOUR/x.zip": "y\n"})
	p.run(`find . -path './2*' -type d | wc -l; find . -type f | wc -l`).matches(`^[12]\n6\n$`)
}
