package mount

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Query asks who keeps the mount of a state directory. Nobody there is
// ErrNoSupervisor.
func Query(ctx context.Context, stateDir string) (Keeper, error) {
	a, err := call(ctx, stateDir, ask{Op: opStatus}, nil)
	if err == nil && a.Status == nil {
		err = fmt.Errorf("%w: %s", ErrNoSupervisor, a.Text)
	}
	if err != nil {
		return Keeper{}, err
	}
	return *a.Status, nil
}

// Unmount asks the supervisor to drain and unmount, and waits. code is the
// exit code of the mount command, text what it said.
func Unmount(ctx context.Context, stateDir string, noDrain bool, timeout time.Duration, progress func(Progress)) (code int, text string, err error) {
	a, err := call(ctx, stateDir, ask{Op: opUnmount, NoDrain: noDrain, Timeout: timeout}, progress)
	return a.Code, a.Text, err
}

// Replace asks the supervisor to become the program that args name, with
// these arguments, and waits until a new worker serves.
func Replace(ctx context.Context, stateDir string, args []string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	a, err := call(ctx, stateDir, ask{Op: opReplace, Args: args, Dir: dir}, nil)
	if err == nil && a.Code != 0 {
		err = errors.New(a.Text)
	}
	return err
}

// call asks and reads until the answer is complete.
func call(ctx context.Context, stateDir string, what ask, progress func(Progress)) (answerLine, error) {
	var conn net.Conn
	err := inDirectory(stateDir, func(short string) (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "unix", short)
		return err
	})
	if err != nil {
		return answerLine{}, fmt.Errorf("%w of %s: %w", ErrNoSupervisor, stateDir, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the read below
	defer stop()
	defer conn.Close() // everything was read
	data, err := json.Marshal(what)
	if err != nil {
		return answerLine{}, err
	}
	if _, err := conn.Write(append(data, '\n')); err != nil {
		return answerLine{}, fmt.Errorf("request to the supervisor: %w", err)
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var a answerLine
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return a, fmt.Errorf("answer of the supervisor: %w", err)
		}
		if a.Progress != nil && progress != nil {
			progress(*a.Progress)
		}
		if a.Done {
			return a, nil
		}
	}
	if ctx.Err() != nil {
		return answerLine{}, context.Cause(ctx)
	}
	return answerLine{}, errors.Join(errors.New("the supervisor died before it answered"), lines.Err())
}
