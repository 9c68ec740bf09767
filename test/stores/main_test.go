package stores

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/ossfake"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// options are the flags of this test binary; the defaults fit go test ./...
type options struct {
	away time.Duration
	full bool
}

// given is what was said on the command line, before the tests run.
var given options

func TestMain(m *testing.M) {
	if played, err := play(); played {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.DurationVar(&given.away, "stores.away", 10*time.Second, "how long the store is away in TestOutage")
	flag.BoolVar(&given.full, "stores.full", false, "full sizes, all servers and goals in TestShipping")
	flag.Parse()
	for _, client := range []map[string]string{testserver.Environ(), ossfake.Environ()} {
		for k, v := range client {
			if err := os.Setenv(k, v); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
	}
	os.Exit(m.Run())
}
