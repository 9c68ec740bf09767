// Package crash_test kills the program, fails it at its weakest points and
// takes its power away, and proves that no acknowledged record is lost,
// doubled, torn or out of order.
package crash_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/sinkfs/sinkfs/test/harness"
)

// options are the flags of this test binary; the defaults fit go test ./...
type options struct {
	kills int
	each  int
	cuts  int
	hits  int
}

// given is what was said on the command line, before the tests run.
var given options

func TestMain(m *testing.M) {
	flag.IntVar(&given.kills, "crash.kills", 200, "kills at random instants, of mounts of a directory, in total")
	flag.IntVar(&given.each, "crash.stores", 50, "kills at random instants, at each store")
	flag.IntVar(&given.cuts, "crash.cuts", 10, "power cuts, in total")
	flag.IntVar(&given.hits, "crash.hits", 1, "at how many hits of each fault point to kill")
	flag.Parse()
	os.Exit(harness.Run(m))
}

// lab is a mount with the harness's sinks.
func lab(t *testing.T, binary, dir string, p place) *harness.Lab {
	t.Helper()
	l := harness.NewLab(t, binary, dir)
	config := filepath.Join(dir, "sinkfs.yaml")
	if err := os.WriteFile(config, []byte(harness.Config()+p.config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.Config = config
	if p.url != "" {
		l.Target, l.Store = p.url, p.shelf
	}
	for k, v := range p.env {
		l.Env = append(l.Env, k+"="+v)
	}
	return l
}
