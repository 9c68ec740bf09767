package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// point is the directory that is mounted upon. While nothing is mounted there
// although something should be, it refuses writes if it is ours to change:
// no log must land beneath the mount.
type point struct {
	path   string
	bare   *os.File // the directory itself, also while it is covered
	record pointRecord
	store  string // where the record is kept
	log    *slog.Logger
}

// pointRecord outlives a crash: what to give back at a clean unmount.
type pointRecord struct {
	Path      string `json:"path"`
	Made      bool   `json:"made"`      // by sinkfs, so it may be protected
	Protected bool   `json:"protected"` // it is mode 0000 now
	Mode      uint32 `json:"mode"`      // that it had
	Immutable bool   `json:"immutable"` // by us
}

// Resolve makes a mountpoint absolute and resolves links of what is above
// it. The last component is not looked at: it may be a dead mount.
func Resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if to, err := os.Readlink(abs); err == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(abs), to)
		}
		abs = filepath.Clean(to)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// preparePoint makes the directory fit to be mounted upon, or says who or
// what is in the way. A dead mount of ours is detached.
func preparePoint(o *Options) (*point, error) {
	path, err := Resolve(o.Mountpoint)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w at %s: %s does not exist, make it first", ErrMountpoint, o.Mountpoint, filepath.Dir(filepath.Clean(o.Mountpoint)))
		}
		return nil, fmt.Errorf("%w at %s: %w", ErrMountpoint, o.Mountpoint, err)
	}
	if err := clearDead(path, o.Log); err != nil {
		return nil, err
	}
	p := &point{path: path, log: o.Log, store: filepath.Join(o.Lock.Dir(), "mountpoint")}
	p.load()
	err = os.Mkdir(path, 0o755)
	switch {
	case err == nil:
		p.record.Made = true
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("%w at %s: %w", ErrMountpoint, path, err)
	}
	if err := p.open(o.Flags.NonEmpty); err != nil {
		return nil, err
	}
	return p, p.save()
}

// clearDead looks at what is mounted at path already.
func clearDead(path string, log *slog.Logger) error {
	for {
		table, err := Table()
		if err != nil {
			return err
		}
		e, ok := At(table, path)
		switch {
		case !ok:
			return nil
		case !e.Ours():
			return fmt.Errorf("%w at %s: %s (%s) is mounted there, choose another directory or unmount it", ErrMountpoint, path, e.Source, e.Type)
		case !Dead(path):
			return fmt.Errorf("%w at %s: sinkfs with the target %s is mounted there; 'sinkfs umount' ends it, 'sinkfs mount --replace' takes it over", ErrMountpoint, path, e.Source)
		}
		log.Warn("detaching a mount that nobody serves", slog.String("mountpoint", path), slog.String("target", e.Source))
		if err := Detach(path); err != nil {
			return fmt.Errorf("%w at %s: a dead mount is in the way: %w", ErrMountpoint, path, err)
		}
	}
}

// lookWait is how long a mount may take to answer: a supervisor that starts a
// worker is alive.
const lookWait = 2 * time.Second

// Detach takes a mount out of the name space, whoever serves it.
func Detach(path string) error {
	if os.Geteuid() != 0 {
		return detachByHelper(path)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount of %s: %w", path, err)
	}
	return nil
}

// Dead says whether nobody will ever serve the mount at path. One that does
// not answer in time is not dead.
func Dead(path string) bool {
	answer := make(chan error, 1)
	go func() { // outlives a call that hangs; there is no way to end it
		var st unix.Statfs_t
		answer <- unix.Statfs(path, &st)
	}()
	late := time.NewTimer(lookWait)
	defer late.Stop()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
	case <-late.C:
		return false
	}
}

// open holds the bare directory and refuses one that is not empty.
func (p *point) open(nonEmpty bool) error {
	var err error
	p.bare, err = os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil && errors.Is(err, fs.ErrPermission) && p.record.Protected && os.Geteuid() != 0 {
		if err = os.Chmod(p.path, fs.FileMode(p.record.Mode)); err == nil { // our own 0000
			p.record.Protected = false
			p.bare, err = os.OpenFile(p.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		}
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%w at %s: it is not a directory", ErrMountpoint, p.path)
	}
	if err != nil {
		return fmt.Errorf("%w at %s: %w", ErrMountpoint, p.path, err)
	}
	if info, err := p.bare.Stat(); err == nil && info.Mode().Perm() != 0 {
		p.record.Protected = false // somebody else undid it
	}
	names, _ := p.bare.Readdirnames(1) // io.EOF says that it is empty
	if len(names) > 0 && !nonEmpty {
		err = fmt.Errorf("%w at %s: the directory is not empty (%s), empty it or use -o nonempty", ErrMountpoint, p.path, names[0])
		return errors.Join(err, p.bare.Close())
	}
	return nil
}

// protect is called while the directory is covered: fusermount3 does not
// mount where its caller may not write.
func (p *point) protect(demanded bool) error {
	if !p.record.Made && !demanded || p.record.Protected {
		return nil
	}
	info, err := p.bare.Stat()
	if err != nil {
		return fmt.Errorf("mountpoint %s: %w", p.path, err)
	}
	p.record.Mode, p.record.Protected = uint32(info.Mode().Perm()), true
	if err := p.save(); err != nil { // before the deed, or nobody could undo it
		return err
	}
	if err := p.bare.Chmod(0); err != nil {
		return fmt.Errorf("protection of the mountpoint %s: %w", p.path, err)
	}
	if err := setImmutable(p.bare, true); err != nil {
		// Mode 0000 stops everybody but root; not every file system can more.
		p.log.Debug("mountpoint not made immutable", slog.Any("error", err))
		return nil
	}
	p.record.Immutable = true
	return p.save()
}

// restore undoes protect, after a clean unmount.
func (p *point) restore() error {
	if !p.record.Protected {
		return nil
	}
	var errs []error
	// The record may be older than the flag: a death came between.
	if err := setImmutable(p.bare, false); err != nil && p.record.Immutable {
		errs = append(errs, err)
	}
	errs = append(errs, p.bare.Chmod(fs.FileMode(p.record.Mode)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("mountpoint %s stays protected: %w", p.path, err)
	}
	p.record.Protected, p.record.Immutable = false, false
	return p.save()
}

func (p *point) close() error { return p.bare.Close() }

// load takes over what an earlier mount of this state directory noted of the
// same mountpoint.
func (p *point) load() {
	p.record = pointRecord{Path: p.path}
	data, err := os.ReadFile(p.store)
	if err != nil {
		return
	}
	var r pointRecord
	if json.Unmarshal(data, &r) == nil && r.Path == p.path {
		p.record = r
	}
}

func (p *point) save() error {
	data, err := json.Marshal(p.record)
	if err != nil {
		return err
	}
	temp := p.store + ".tmp"
	if err := os.WriteFile(temp, data, 0o600); err != nil {
		return fmt.Errorf("note on the mountpoint: %w", err)
	}
	if err := os.Rename(temp, p.store); err != nil {
		return fmt.Errorf("note on the mountpoint: %w", err)
	}
	return nil
}

const flagImmutable = 0x10 // FS_IMMUTABLE_FL

// setImmutable is chattr +i or -i.
func setImmutable(dir *os.File, on bool) error {
	flags, err := unix.IoctlGetInt(int(dir.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		return os.NewSyscallError("FS_IOC_GETFLAGS", err)
	}
	want := flags &^ flagImmutable
	if on {
		want |= flagImmutable
	}
	if want == flags {
		return nil
	}
	return os.NewSyscallError("FS_IOC_SETFLAGS", unix.IoctlSetPointerInt(int(dir.Fd()), unix.FS_IOC_SETFLAGS, want))
}

// resumedPoint is the mountpoint of a supervisor that has become this
// program.
func resumedPoint(h handed, log *slog.Logger) *point {
	p := &point{path: h.Path, bare: os.NewFile(uintptr(h.Bare), h.Path), log: log, store: filepath.Join(h.Dir, "mountpoint")}
	p.load()
	return p
}
