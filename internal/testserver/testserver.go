// Package testserver runs real object stores for tests: MinIO and versitygw,
// two families of servers that read the protocol of S3 differently. They are
// built from source once, pinned, outside the tree.
package testserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The access of every server that was not told another. The region is Region.
const (
	AccessKey = "sinkfs-test"
	SecretKey = "sinkfs-test-secret"
	Region    = "us-east-1"
)

// Server is a running store.
type Server struct {
	Kind Kind
	URL  string // http://127.0.0.1:port
	Dir  string // where it keeps its data
	// AccessKey and SecretKey are all that it takes, from the next Run on.
	AccessKey, SecretKey string

	program string
	cmd     *exec.Cmd
	done    chan struct{} // closed when it has ended
	log     bytes.Buffer
}

// Each runs a test on every kind of server, on an empty one.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Helper()
	for _, k := range Kinds {
		t.Run(k.Name, func(t *testing.T) { test(t, Start(t, k)) })
	}
}

// Start runs a server until the test or benchmark ends.
func Start(tb testing.TB, k Kind) *Server {
	tb.Helper()
	s, err := New(tb.Context(), k, tb.TempDir())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Stop(); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("the last words of %s:\n%s", k.Name, last(s.log.String(), 2000))
		}
	})
	return s
}

// New runs a server that keeps its data in an empty directory, until Stop.
func New(ctx context.Context, k Kind, dir string) (*Server, error) {
	program, err := k.Program(ctx)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: k, URL: fmt.Sprintf("http://127.0.0.1:%d", port), Dir: dir, AccessKey: AccessKey, SecretKey: SecretKey, program: program,
	}
	for _, sub := range []string{"data", "iam"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	return s, s.Run(ctx)
}

// Run starts a server that was stopped, on the same port and data, and waits
// until it answers.
func (s *Server) Run(ctx context.Context) error {
	args, env := s.Kind.command(s, strings.TrimPrefix(s.URL, "http://"))
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), s.program, args...)
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Dir = s.Dir
	s.log.Reset()
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done, cmd := make(chan struct{}), s.cmd
	s.done = done
	go func() { // ends with the process, Stop waits for it
		defer close(done)
		_ = cmd.Wait() // how it ended is in its log
	}()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers(ctx) {
			return nil
		}
		select {
		case <-tick.C:
		case <-s.done:
			return fmt.Errorf("%s ended:\n%s", s.Kind.Name, last(s.log.String(), 2000))
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", s.Kind.Name, errors.Join(ctx.Err(), s.Stop()))
		}
	}
}

// answers says whether buckets are served: what has no signature is refused
// then, and before it is an error.
func (s *Server) answers(ctx context.Context) bool {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/", nil)
	if err != nil {
		return false
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode < http.StatusInternalServerError
}

// Stop kills the server and waits for its end.
func (s *Server) Stop() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-s.done
	s.cmd = nil
	return err
}

// Environ is what a client of the server has in its environment.
func Environ() map[string]string {
	return map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_REGION": Region,
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		return 0, err
	}
	defer l.Close()
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("listening at %v", l.Addr())
	}
	return addr.Port, nil
}

func last(text string, n int) string {
	return strings.TrimSpace(text[max(0, len(text)-n):])
}
