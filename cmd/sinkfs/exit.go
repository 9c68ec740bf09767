package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/lifecycle"
	"github.com/sinkfs/sinkfs/lifecycle/journal"
)

// Exit codes, a contract with scripts. 2 is left out: a Go panic uses it.
const (
	codeDone        = 0
	codeFailed      = 1
	codeUsage       = 3
	codeConfig      = 4
	codeMount       = 5 // no mount there, or mounting failed
	codeState       = 6 // state directory in use or damaged
	codeTarget      = 7 // target unreachable or refused
	codeUnpublished = 8 // stopped with data not yet published
	codeFsck        = 9 // fsck found something
)

// exitTexts are the codes as the manual explains them.
var exitTexts = []struct {
	code int
	text string
}{
	{codeDone, "done"},
	{codeFailed, "failed"},
	{codeUsage, "wrong use of the command line"},
	{codeConfig, "an error in the configuration"},
	{codeMount, "no sinkfs mount there, or mounting failed"},
	{codeState, "the state directory is in use or damaged"},
	{codeTarget, "the target cannot be reached, or it refused"},
	{codeUnpublished, "stopped with data that is not yet published"},
	{codeFsck, "fsck found something"},
}

// exitError is an error that knows with which code the process ends. A nil
// err ends it silently: everything was said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// fail gives err an exit code; a nil err stays nil.
func fail(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code: code, err: err}
}

func usagef(format string, args ...any) error {
	return &exitError{code: codeUsage, err: fmt.Errorf(format, args...)}
}

// codeOf is the one table from an error to an exit code.
func codeOf(err error) int {
	var exit *exitError
	switch {
	case err == nil:
		return codeDone
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, config.ErrInvalid), errors.Is(err, config.ErrNotBuilt):
		return codeConfig
	case errors.Is(err, lifecycle.ErrState), errors.Is(err, lifecycle.ErrUnproved), errors.Is(err, journal.ErrLocked), errors.Is(err, journal.ErrDamaged),
		errors.Is(err, journal.ErrBehind), errors.Is(err, journal.ErrVersion):
		return codeState
	case errors.Is(err, lifecycle.ErrTarget), errors.Is(err, backend.ErrUnsupported), errors.Is(err, backend.ErrPermission):
		return codeTarget
	}
	return codeFailed
}

// message is what stands on stderr: one line, whatever was wrapped. It is
// empty when there is nothing to say.
func message(err error) string {
	if err == nil {
		return ""
	}
	if exit, ok := errors.AsType[*exitError](err); ok && exit.err == nil {
		return ""
	}
	if errors.Is(err, context.DeadlineExceeded) && err.Error() == context.DeadlineExceeded.Error() {
		return "time ran out"
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines, "; ")
}
