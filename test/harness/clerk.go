package harness

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clerk is the process of a writer. It uses bare system calls, so that the
// errors and times it notes are those of the calls.
type clerk struct {
	Writer
	book   *notebook
	parent int
	fd     int  // kept open, -1: none
	torn   bool // a write failed: part of it may be there, so the next record begins a line
	report Report
}

// writeAs is the whole life of a writer.
func writeAs(text string) error {
	c := &clerk{fd: -1, parent: os.Getppid()}
	if err := json.Unmarshal([]byte(text), &c.Writer); err != nil {
		return err
	}
	var err error
	if c.book, err = openNotebook(c.notes()); err != nil {
		return err
	}
	pace := time.NewTicker(c.Every)
	defer pace.Stop()
	for number := 0; !c.over(); number++ {
		if err := c.one(number); err != nil {
			return err
		}
		<-pace.C
	}
	_ = c.drop() // in the report
	report, err := json.Marshal(c.report)
	if err != nil {
		return err
	}
	return errors.Join(c.book.close(), os.WriteFile(c.Writer.report(), report, 0o600))
}

func (c *clerk) over() bool {
	if os.Getppid() != c.parent { // the test is gone
		return true
	}
	_, err := os.Lstat(c.stop())
	return err == nil
}

// one writes one record and notes what came of it.
func (c *clerk) one(number int) error {
	var err error
	if c.Kind == Files {
		err = c.file(number)
	} else {
		err = c.record(number)
	}
	if err != nil {
		return c.book.failed(number, err)
	}
	return c.book.acked(number)
}

func (c *clerk) text(number int) string {
	if c.Kind == Same || c.Kind == SameKept {
		return SameRecord(c.ID)
	}
	length := number * 37 % 120
	switch {
	case c.Length > 0:
		length = c.Length
	case c.Kind == Shell, c.Kind == ShellOver:
		length = len(filler)
	case c.Kind == Python:
		length = number % len(filler)
	case c.Largest > 0 && number%40 == 39:
		length = c.Largest - number%7
	}
	return Record(c.ID, number, length)
}

func (c *clerk) flags() int {
	switch c.Kind {
	case Append, Reopen, SameKept, Unlink:
		return unix.O_WRONLY | unix.O_APPEND | unix.O_CREAT
	case ReadWrite:
		return unix.O_RDWR | unix.O_APPEND | unix.O_CREAT
	case Truncate:
		return unix.O_WRONLY | unix.O_CREAT | unix.O_TRUNC
	case Plain, Same:
		return unix.O_WRONLY | unix.O_CREAT
	case Files, Shell, ShellOver, Python:
	}
	return unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL
}

// record writes to a stream. The record counts as written when write, and
// fsync where it is asked for, returned; what close says is reported only.
func (c *clerk) record(number int) error {
	if c.fd < 0 {
		if err := c.open(c.Path); err != nil {
			return err
		}
		if c.Kind == Plain || c.Kind == Same { // to go on where the last descriptor left off
			if err := c.call("seek", func() error { _, err := unix.Seek(c.fd, 0, unix.SEEK_END); return err }); err != nil {
				_ = c.drop() // in the report
				return err
			}
		}
	}
	text := c.text(number)
	if c.torn {
		text = "\n" + text
	}
	err := c.write(text)
	c.torn = err != nil
	if err == nil && c.Sync {
		err = c.call("fsync", func() error { return unix.Fsync(c.fd) })
	}
	if err != nil || c.Kind == Reopen || c.Kind == Truncate || c.Kind == Unlink {
		_ = c.drop() // in the report
	}
	if c.Kind == Unlink && number%20 == 19 {
		_ = c.call("unlink", func() error { return unix.Unlink(c.Path) }) // reported
	}
	return err
}

// file writes a file under a temporary name, then renames it.
func (c *clerk) file(number int) error {
	path := filepath.Join(c.Path, FileName(c.ID, number))
	if err := c.open(path + ".tmp"); err != nil {
		return err
	}
	err := c.write(c.text(number))
	if err == nil && c.Sync {
		err = c.call("fsync", func() error { return unix.Fsync(c.fd) })
	}
	if derr := c.drop(); err == nil {
		err = derr
	}
	if err != nil {
		return err
	}
	err = c.call("rename", func() error { return unix.Rename(path+".tmp", path) })
	if err == nil && c.Sync {
		err = c.syncDir()
	}
	return err
}

func (c *clerk) syncDir() error {
	fd, err := unix.Open(c.Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = c.call("fsync", func() error { return unix.Fsync(fd) })
	return errors.Join(err, unix.Close(fd))
}

func (c *clerk) open(path string) error {
	return c.call("open", func() error {
		fd, err := unix.Open(path, c.flags()|unix.O_CLOEXEC, 0o644)
		if err == nil {
			c.fd = fd
		}
		return err
	})
}

func (c *clerk) write(text string) error {
	return c.call("write", func() error {
		n, err := unix.Write(c.fd, []byte(text))
		if err == nil && n < len(text) {
			err = fmt.Errorf("short: %d of %d: %w", n, len(text), syscall.EIO)
		}
		return err
	})
}

// drop closes the descriptor. What was written stays written if that fails.
func (c *clerk) drop() error {
	if c.fd < 0 {
		return nil
	}
	fd := c.fd
	c.fd = -1
	return c.call("close", func() error { return unix.Close(fd) })
}

// call measures and counts a system call.
func (c *clerk) call(name string, f func() error) error {
	start := time.Now()
	err := f()
	c.report.Calls++
	if took := time.Since(start); took > c.report.Longest {
		c.report.Longest, c.report.LongestCall = took, name
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
		c.report.Failed++
		if c.report.FirstError == "" {
			c.report.FirstError = time.Now().Format(time.TimeOnly) + " " + err.Error()
		}
	}
	return err
}
