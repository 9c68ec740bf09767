package programs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sinkfs/sinkfs/internal/sinkfstest"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(generateEnv); text != "" {
		if err := generate(text, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// flagsEnv are more flags of mount, for all tests.
const flagsEnv = "PROGRAMS_MOUNT_FLAGS"

// All programs find the same where the kernel cannot append by itself.
func TestProgramsWithoutPassthrough(t *testing.T) {
	if os.Getenv(flagsEnv) != "" {
		return // within this test
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.short")
	cmd.Env = append(os.Environ(), flagsEnv+"=--passthrough=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// standard is one stream sink at the root, whose parts stand beside the
// directories of their sources, and one file sink. No timer.
const standard = `
checkpoint: {interval: 0s}
sinks:
  - path: /
    bucket: {assigner: base-path}
  - path: /files
    kind: file
`

// place is a mount of the whole program, with its target.
type place struct {
	t      *testing.T
	dir    string
	mnt    string
	target string
	state  string
	src    string // a directory outside of the mount, for what programs read

	args     []string          // of mount, but for target and mountpoint
	finished map[string]string // by true name, as last seen
	ended    bool
}

// mount gives a mount of its own to a test. It is unmounted when the test
// ends, which must publish nothing that the test did not ask for.
func mount(t *testing.T, config string, flags ...string) *place {
	t.Helper()
	dir, err := os.MkdirTemp("", "programs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &place{
		t: t, dir: dir, mnt: filepath.Join(dir, "mnt"), target: filepath.Join(dir, "target"),
		state: filepath.Join(dir, "state"), src: filepath.Join(dir, "src"), finished: map[string]string{},
	}
	if err := os.Chmod(dir, 0o755); err != nil { // other users come in
		t.Fatal(err)
	}
	for _, d := range []string{p.mnt, p.src} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "sinkfs.yaml")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	p.args = append([]string{"mount", "-b", "-c", file, "--state-dir", p.state}, flags...)
	p.args = append(p.args, strings.Fields(os.Getenv(flagsEnv))...)
	t.Cleanup(p.detach)
	p.start()
	t.Cleanup(func() { p.leave() })
	return p
}

func (p *place) start() {
	p.t.Helper()
	if out, err := exec.Command(sinkfstest.Program(p.t), append(slices.Clone(p.args), p.target, p.mnt)...).CombinedOutput(); err != nil {
		p.t.Fatalf("mount: %v\n%s%s", err, out, p.log())
	}
}

func (p *place) log() string {
	b, _ := os.ReadFile(filepath.Join(p.state, "log"))
	return string(b)
}

// detach makes sure that nothing stays mounted, whatever happened before.
func (p *place) detach() {
	_ = exec.Command(sinkfstest.Program(p.t), "umount", "--no-drain", p.mnt).Run()
	_ = syscall.Unmount(p.mnt, syscall.MNT_DETACH)
	if p.t.Failed() {
		p.t.Logf("log of the mount:\n%s", p.log())
	}
}

// leave unmounts at the end of a test that did not by itself: that publishes
// nothing. In any case fsck must find nothing to say.
func (p *place) leave() {
	p.t.Helper()
	if !p.ended {
		p.umount(0)
		if diff := cmp.Diff(p.finished, p.readTarget()); diff != "" {
			p.t.Errorf("the unmount published what no checkpoint did (-before +after):\n%s", diff)
		}
	}
	if out, err := exec.Command(sinkfstest.Program(p.t), "fsck", "--state-dir", p.state, p.target).CombinedOutput(); err != nil {
		p.t.Errorf("fsck: %v\n%s", err, out)
	}
	if bad := regexp.MustCompile(`(?m)^(panic:|.*level=ERROR).*`).FindString(p.log()); bad != "" {
		p.t.Errorf("the log says: %s", bad)
	}
}

// umount ends the mount and wants an exit code.
func (p *place) umount(want int) {
	p.t.Helper()
	p.ended = true
	cmd := exec.Command(sinkfstest.Program(p.t), "umount", p.mnt)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("umount: exit code %d (%v), want %d\n%s", got, err, want, out)
	}
}

// result is what a program left behind.
type result struct {
	t      *testing.T
	script string
	out    string // stdout and stderr, in order
	code   int
}

// run lets a shell run a script in the mount. It must succeed.
func (p *place) run(script string) result {
	p.t.Helper()
	r := p.try(script)
	if r.code != 0 {
		p.t.Fatalf("%s\nexit code %d, want 0\n%s", script, r.code, r.out)
	}
	return r
}

// try is run for a script that may fail.
func (p *place) try(script string) result {
	p.t.Helper()
	return p.as(nil, script)
}

// as is try, as another user.
func (p *place) as(who *syscall.Credential, script string) result {
	p.t.Helper()
	cmd := p.command(script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		p.t.Fatalf("%s: %v", script, err)
	}
	return result{t: p.t, script: script, out: out.String(), code: cmd.ProcessState.ExitCode()}
}

// command is a script to be run in the mount. SRC is the directory outside of
// it.
func (p *place) command(script string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = p.mnt
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin:"+os.Getenv("PATH"), "SRC="+p.src, "MNT="+p.mnt, "TARGET="+p.target, "LC_ALL=C", "TZ=UTC", "HOME="+p.dir)
	return cmd
}

// prints wants an output, as a whole.
func (r result) prints(want string) {
	r.t.Helper()
	if r.out != want {
		r.t.Errorf("%s\nprinted %q, want %q", r.script, r.out, want)
	}
}

// matches wants an output that a pattern describes.
func (r result) matches(pattern string) {
	r.t.Helper()
	if !regexp.MustCompile(pattern).MatchString(r.out) {
		r.t.Errorf("%s\nprinted %q, want %q", r.script, r.out, pattern)
	}
}

// fails wants an exit code other than 0, and a reason.
func (r result) fails(pattern string) {
	r.t.Helper()
	if r.code == 0 {
		r.t.Errorf("%s\nsucceeded, want %q\n%s", r.script, pattern, r.out)
	}
	r.matches(pattern)
}

// files are finished files by name, with their bytes. Of the names of parts
// the instance's uid is left out.
type files map[string]string

var uidPart = regexp.MustCompile(`-[0-9a-f]{16}-([0-9]+)`)

// publishes makes a checkpoint, which must be complete, and wants exactly
// these finished files beyond those from before, which must not have changed.
// The mount must show what the target has, with the same bytes.
func (p *place) publishes(want files) checkpoint {
	p.t.Helper()
	c := p.checkpoint("")
	if c.State != "complete" || len(c.Failed) > 0 || c.Error != "" {
		p.t.Fatalf("checkpoint: %+v", c)
	}
	p.appeared(want)
	return c
}

// appeared is publishes without its own checkpoint.
func (p *place) appeared(want files) {
	p.t.Helper()
	now := p.readTarget()
	got := files{}
	for name, text := range now {
		old, known := p.finished[name]
		switch {
		case !known:
			got[uidPart.ReplaceAllString(name, "-$1")] = text
		case old != text:
			p.t.Errorf("finished file %s changed", name)
		}
	}
	for name := range p.finished {
		if _, ok := now[name]; !ok {
			p.t.Errorf("finished file %s is gone", name)
		}
	}
	p.finished = now
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("finished files (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(now, p.readTree(p.mnt)); diff != "" {
		p.t.Errorf("the mount shows other files than the target has (-target +mount):\n%s", diff)
	}
}

// readTarget is every file of the target.
func (p *place) readTarget() map[string]string {
	p.t.Helper()
	return p.readTree(p.target)
}

func (p *place) readTree(root string) map[string]string {
	p.t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		found[strings.TrimPrefix(name, root+"/")] = string(b)
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return found
}

// checkpoint is the answer to a trigger.
type checkpoint struct {
	ID     int
	State  string
	Parts  int
	Bytes  int64
	Error  string
	Failed []struct{ Path, Error string }

	LeftOut []struct {
		Path   string
		Bytes  int64
		Reason string
	} `json:"left_out"`
}

// checkpoint writes a line to the control file, which must succeed.
func (p *place) checkpoint(line string) checkpoint {
	p.t.Helper()
	control := filepath.Join(p.mnt, ".sinkfs", "checkpoint")
	if err := os.WriteFile(control, []byte(line+"\n"), 0); err != nil {
		p.t.Fatalf("checkpoint: %v\n%s", err, p.control("checkpoint"))
	}
	var c checkpoint
	if err := json.Unmarshal([]byte(p.control("checkpoint")), &c); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// control is what a control file says.
func (p *place) control(name string) string {
	p.t.Helper()
	b, err := os.ReadFile(filepath.Join(p.mnt, ".sinkfs", name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// scratch are the names that wait unseen, by the status.
func (p *place) scratch() []string {
	p.t.Helper()
	var s struct {
		Scratch []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(p.control("status")), &s); err != nil {
		p.t.Fatal(err)
	}
	names := []string{}
	for _, e := range s.Scratch {
		names = append(names, e.Path)
	}
	slices.Sort(names)
	return names
}

// again mounts once more, after an unmount.
func (p *place) again() {
	p.t.Helper()
	p.start()
	p.ended = false
}

// diffCounts is how often each line is there, where that differs.
func diffCounts(want, got map[string]int) string {
	var b strings.Builder
	for _, line := range slices.Sorted(maps.Keys(want)) {
		if want[line] != got[line] {
			fmt.Fprintf(&b, "- %d times %q\n", want[line], line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(got)) {
		if want[line] != got[line] {
			fmt.Fprintf(&b, "+ %d times %q\n", got[line], line)
		}
	}
	return b.String()
}
