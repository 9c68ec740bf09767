package stores

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

// TestRestoreFromStore loses the journal of a mount that is killed while it
// stages and commits: rebuilt, every line is there once, and no upload is left.
func TestRestoreFromStore(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		if oss, ok := s.(ossSite); ok {
			oss.SetLatency(2 * time.Millisecond) // as long as a server needs that keeps what it gets
		}
		m := mountOf(t, s)
		flags := settings(t, s, s.URL(), "checkpoint: {commit_timeout: 5s}")
		m.Start(flags...)
		want := loseJournals(t, m, flags)
		wantOnce(t, lines(t, s, "prod/"), want)
		t.Logf("%d uploads of dead workers", s.Uploads(t))
		tidy(t, s, m)
	})
}

func wantOnce(t *testing.T, got map[string]int, want int) {
	t.Helper()
	wrong := 0
	for line, n := range got {
		if n != 1 {
			if wrong++; wrong < 5 {
				t.Logf("%q is there %d times", line, n)
			}
		}
	}
	if len(got) != want || wrong > 0 {
		t.Errorf("%d lines are published, want %d; %d not once", len(got), want, wrong)
	}
}

// loseJournals kills a mount at any instant of a checkpoint and removes its
// journal, many times. It returns how many lines were written.
func loseJournals(t *testing.T, m *sinkfstest.Mount, flags []string) (written int) {
	t.Helper()
	const rounds, small, large = 8, 40, 200_000 // lines of 100 bytes: the large ones are staged
	round := 0
	lines := func(name string, n int) {
		var text bytes.Buffer
		for i := range n {
			fmt.Fprintf(&text, "%-20s round %02d line %06d %058d\n", name, round, i, i)
		}
		f, err := os.OpenFile(m.Path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
		if err == nil {
			_, err = f.Write(text.Bytes())
		}
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		written += n
	}
	for ; round < rounds; round++ {
		for i := range small { // more than an object has room to tell of
			lines(fmt.Sprintf("%02d.log", i), 1)
		}
		if round%2 == 1 {
			lines(fmt.Sprintf("large-%02d.log", round), large)
			lines(fmt.Sprintf("file-%02d.gz", round), large)
		}
		if round%4 == 2 {
			m.Publish()
			lines("app.log", 1)
		}
		published := make(chan struct{})
		go func() {
			defer close(published)
			sinkfstest.Run(t, "checkpoint", m.Point)
		}()
		wait := time.NewTimer(50*time.Millisecond + rand.N(time.Duration(200+round%2*1000)*time.Millisecond))
		<-wait.C
		m.KillAll()
		<-published
		if err := os.RemoveAll(filepath.Join(m.State, "journal")); err != nil {
			t.Fatal(err)
		}
		restore := append([]string{"journal", "restore", "--from-target", "--state-dir", m.State}, flags...)
		r := sinkfstest.Run(t, append(restore, m.Target)...)
		if r.Code != 0 {
			t.Fatalf("restore ended with %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		for line := range strings.Lines(r.Stdout) {
			if !strings.HasPrefix(line, "to publish") {
				t.Logf("round %d: %s", round, strings.TrimSpace(line))
			}
		}
		m.Start(flags...)
	}
	m.Publish()
	return written
}
