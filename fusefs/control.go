package fusefs

import (
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// controlKind is what a control node is.
type controlKind uint8

const (
	controlCheckpoints controlKind = iota + 1 // the directory of manifests
	controlManifest
	controlCheckpoint
	controlStatus
	controlParts
	controlEvents
	controlConfig
	controlMetrics
	controlAccount
)

const checkpointsName = "checkpoints"

// controlFiles are the files of .sinkfs, in the order of a listing. A hidden
// one is for our own commands and no contract with anybody else.
var controlFiles = []struct {
	name   string
	kind   controlKind
	mode   uint32
	hidden bool
}{
	{name: "checkpoint", kind: controlCheckpoint}, // its mode is configured
	{name: "config", kind: controlConfig, mode: 0o400},
	{name: "events", kind: controlEvents, mode: 0o444},
	{name: "metrics", kind: controlMetrics, mode: 0o444},
	{name: "parts", kind: controlParts, mode: 0o444},
	{name: "status", kind: controlStatus, mode: 0o444},
	{name: "account", kind: controlAccount, mode: 0o400, hidden: true}, // for fsck
}

// controlLookup finds a name in .sinkfs or in its checkpoints.
func (f *FS) controlLookup(dir uint64, name string, out *fuse.EntryOut) error {
	if spaceOf(dir) == spaceSinkfs {
		if name == checkpointsName {
			return f.controlEntry(controlID(controlCheckpoints, dir), out)
		}
		for _, c := range controlFiles {
			if c.name == name {
				return f.controlEntry(controlID(c.kind, 0), out)
			}
		}
		return syscall.ENOENT
	}
	if k, _ := controlOf(dir); k != controlCheckpoints {
		return syscall.ENOTDIR
	}
	id, err := strconv.ParseUint(name, 10, controlShift)
	if err != nil || strconv.FormatUint(id, 10) != name {
		return syscall.ENOENT
	}
	if _, err := f.in.Manifest(id); err != nil {
		return err
	}
	return f.controlEntry(controlID(controlManifest, id), out)
}

func (f *FS) controlEntry(id uint64, out *fuse.EntryOut) error {
	out.NodeId = id
	out.SetEntryTimeout(unfinishedName)
	if k, _ := controlOf(id); spaceOf(id) == spaceControl && k == controlManifest {
		out.SetEntryTimeout(0) // retention ends it
	}
	return f.controlAttr(id, nil, &out.Attr)
}

// controlAttr is what stat shows. The size is known once it is open.
func (f *FS) controlAttr(id uint64, h *handle, out *fuse.Attr) error {
	*out = fuse.Attr{
		Ino: id, Nlink: 1, Blksize: blockSize, Mode: 0o444 | syscall.S_IFREG,
		Owner: fuse.Owner{Uid: f.cfg.UID, Gid: f.cfg.GID},
	}
	setTimes(out, f.started, time.Now(), f.started)
	if spaceOf(id) == spaceSinkfs {
		out.Mode, out.Nlink = 0o555|syscall.S_IFDIR, 2
		return nil
	}
	switch k, _ := controlOf(id); k {
	case controlCheckpoints:
		out.Mode, out.Nlink = 0o555|syscall.S_IFDIR, 2
	case controlManifest:
	case controlCheckpoint:
		out.Mode = f.cfg.ControlMode&0o7777 | syscall.S_IFREG
		out.Gid = *f.cfg.ControlGID
	default:
		mode, ok := modeOf(k)
		if !ok {
			return fmt.Errorf("node %x: %w", id, errUnknownNode)
		}
		out.Mode = mode | syscall.S_IFREG
	}
	if h != nil && h.ctl != nil {
		out.Size = h.ctl.size()
	}
	return nil
}

func modeOf(k controlKind) (uint32, bool) {
	for _, c := range controlFiles {
		if c.kind == k {
			return c.mode, true
		}
	}
	return 0, false
}

// openControl takes the snapshot that the handle will read.
func (f *FS) openControl(o opening, out *fuse.OpenOut) error {
	k, _ := controlOf(o.node)
	if _, known := modeOf(k); !known && k != controlManifest {
		return syscall.EISDIR
	}
	if o.bits&handleWrite != 0 && k != controlCheckpoint {
		return syscall.EACCES
	}
	c := newControlFile(f, o.node)
	if o.bits&handleRead != 0 {
		if err := c.load(); err != nil {
			return err
		}
	}
	h := &handle{ctl: c}
	if err := f.handles.open(o, h); err != nil {
		c.close()
		return err
	}
	out.Fh, out.OpenFlags = h.fh, c.openFlags()
	return nil
}

// controlNames are the entries of a control directory.
func (f *FS) controlNames(id uint64) []entry {
	if spaceOf(id) == spaceSinkfs {
		names := []entry{{name: checkpointsName, id: controlID(controlCheckpoints, id), mode: syscall.S_IFDIR}}
		for _, c := range controlFiles {
			if !c.hidden {
				names = append(names, entry{name: c.name, id: controlID(c.kind, 0), mode: syscall.S_IFREG})
			}
		}
		return names
	}
	var names []entry
	for _, n := range f.in.Checkpoints() {
		names = append(names, entry{name: strconv.FormatUint(n, 10), id: controlID(controlManifest, n), mode: syscall.S_IFREG})
	}
	return names
}

// triggerFailure is why the last trigger made no checkpoint.
type triggerFailure struct {
	after uint64 // the last checkpoint before it
	err   error
}

func (f *FS) noteTrigger(id uint64, err error) {
	f.triggerMu.Lock()
	defer f.triggerMu.Unlock()
	f.triggerFail = nil
	if err != nil && id == 0 {
		last, _ := f.in.LastCheckpoint()
		f.triggerFail = &triggerFailure{after: last.ID, err: err}
	}
}

// lastFailure is set when nothing has been checkpointed since a trigger
// failed outright.
func (f *FS) lastFailure() error {
	f.triggerMu.Lock()
	defer f.triggerMu.Unlock()
	if t := f.triggerFail; t != nil {
		if last, _ := f.in.LastCheckpoint(); last.ID == t.after {
			return t.err
		}
	}
	return nil
}
