package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// sinkfs runs one command line in this process.
func sinkfs(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodesAndMessages(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("target: /t\nmode: fast\nretain: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.MkdirAll(filepath.Join(plain, controlName), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"status", "parts", "checkpoint"} { // a directory that only looks like a mount
		if err := os.WriteFile(filepath.Join(plain, controlName, name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		args string
		code int
		want string // "DIR" stands for dir
	}{
		{"chekpoint", codeUsage, `there is no command "chekpoint", the nearest is "checkpoint", see 'sinkfs --help'`},
		{"config shwo", codeUsage, `there is no command "config shwo", the nearest is "show", see 'sinkfs config --help'`},
		{"help chekpoint", codeUsage, `there is no command "chekpoint", the nearest is "checkpoint", see 'sinkfs --help'`},
		{"help config shwo", codeUsage, `there is no command "config shwo", the nearest is "show", see 'sinkfs config --help'`},
		{"--bad", codeUsage, `unknown flag: --bad, see 'sinkfs --help'`},
		{"status", codeUsage, `MOUNTPOINT is missing, see 'sinkfs status --help'`},
		{"status a b", codeUsage, `"b" is one argument too many, see 'sinkfs status --help'`},
		{"status --watch=maybe a", codeUsage, `invalid argument "maybe" for "--watch" flag: strconv.ParseBool: parsing "maybe": invalid syntax, see 'sinkfs status --help'`},
		{"checkpoint --timeout 0s DIR", codeUsage, `--timeout 0s is not a time to wait, write for example 30s`},
		{"checkpoint --policy --end DIR", codeUsage, `--policy and --end exclude each other`},
		{"parts --state done DIR", codeUsage, `--state "done" is not a state, write one of in_progress, pending, committing, finished, quarantined`},
		{"completion tcsh", codeUsage, `"tcsh" is not a shell known here, write one of bash, zsh, fish, powershell`},
		{"journal dump", codeUsage, `the state directory is missing: name TARGET or --state-dir, see 'sinkfs journal dump --help'`},
		{"journal dump --state-dir DIR DIR", codeUsage, `TARGET and --state-dir both name a state directory, write one of them`},
		{"journal dump gs://x", codeUsage, `target gs://x: "gs://" is not a store, write a directory or file://, s3://, oss:// or hdfs://`},
		{"journal dump --state-dir DIR", codeState, `DIR is not a state directory, name it with --state-dir`},
		{"config check DIR/bad.yaml", codeConfig, "DIR/bad.yaml:2:7: mode: \"fast\" is not one of its values, write streaming or batch\n" +
			"sinkfs: DIR/bad.yaml:3:1: key \"retain\" is not known here, it belongs under \"checkpoint.retain\""},
		{"config check DIR/none.yaml", codeConfig, `configuration is not valid: open DIR/none.yaml: no such file or directory`},
		{"config show", codeConfig, `the target is missing, set target in the file, SINKFS_TARGET, or name it on the command line`},
		{"config show DIR/bad.yaml", codeConfig, `DIR/bad.yaml:2:7: mode: "fast" is not one of its values, write streaming or batch (and 1 more, 'sinkfs config check' lists them)`},
		{"config sample DIR/bad.yaml", codeFailed, `open DIR/bad.yaml: file exists: name a new file`},
		{"status DIR", codeMount, `DIR is in no sinkfs mount, name the mountpoint or a path inside it`},
		{"status DIR/none", codeMount, `DIR/none is in no sinkfs mount, name the mountpoint or a path inside it`},
		{"status DIR/bad.yaml", codeMount, `DIR/bad.yaml is in no sinkfs mount, name the mountpoint or a path inside it`},
		{"status DIR/plain", codeMount, `DIR/plain is in no sinkfs mount`},
		{"parts DIR/plain", codeMount, `DIR/plain is in no sinkfs mount`},
		{"checkpoint DIR/plain", codeMount, `DIR/plain is in no sinkfs mount`},
		{"checkpoint DIR", codeMount, `DIR is in no sinkfs mount, name the mountpoint or a path inside it`},
		{"wait DIR/x", codeMount, `DIR/x is in no sinkfs mount, name the mountpoint or a path inside it`},
	} {
		args := strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir))
		code, stdout, stderr := sinkfs(t, args...)
		if want := "sinkfs: " + strings.ReplaceAll(tt.want, "DIR", dir) + "\n"; code != tt.code || stderr != want || stdout != "" {
			t.Errorf("sinkfs %s:\ngot  %d %q %s\nwant %d %s", tt.args, code, stdout, stderr, tt.code, want)
		}
	}
}

func TestWhatNeedsNoMount(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"", "Available Commands:"},
		{"--help", "Available Commands:"},
		{"help", "Available Commands:"},
		{"help checkpoint", "sinkfs checkpoint MOUNTPOINT [flags]"},
		{"help journal verify", "sinkfs journal verify"},
		{"checkpoint --help", "sinkfs checkpoint MOUNTPOINT [flags]"},
		{"config", "sample"},
		{"config sample", "target: /data/target"},
		{"config schema", "max_part_size"},
		{"config show --target /t", "target: file:///t"},
		{"config check --target /t", ""},
		{"version", "passthrough"},
		{"version --json", `"passthrough"`},
		{"completion bash", "complete"},
		{"completion zsh", "compdef"},
		{"completion fish", "complete"},
		{"completion powershell", "Register-ArgumentCompleter"},
		{"man", ".SH EXIT STATUS"},
	} {
		code, stdout, stderr := sinkfs(t, strings.Fields(tt.args)...)
		if code != codeDone || !strings.Contains(stdout, tt.want) || stderr != "" {
			t.Errorf("sinkfs %s: got code %d, stderr %q, stdout without %q", tt.args, code, stderr, tt.want)
		}
	}
}

func TestSampleFileIsAConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sinkfs.yaml")
	if code, _, stderr := sinkfs(t, "config", "sample", file); code != codeDone {
		t.Fatal(stderr)
	}
	if code, _, stderr := sinkfs(t, "config", "check", file); code != codeDone {
		t.Fatal(stderr)
	}
}

// every calls fn for each command that people see.
func every(cmd *cobra.Command, fn func(*cobra.Command)) {
	if cmd.Hidden {
		return
	}
	fn(cmd)
	for _, sub := range cmd.Commands() {
		every(sub, fn)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	every(newRootCommand(), func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: the short text is %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Example == "" && !cmd.HasSubCommands() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	})
}

func TestManPages(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := sinkfs(t, "man", dir); code != codeDone {
		t.Fatal(stderr)
	}
	every(newRootCommand(), func(cmd *cobra.Command) {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.HasPrefix(page, []byte(".TH SINKFS")) {
			t.Errorf("%s: got %.20q, %v", name, page, err)
		}
	})
}

func TestKernelVersion(t *testing.T) {
	for release, want := range map[string][2]int{
		"6.18.44-fc-v669": {6, 18}, "6.9.0": {6, 9}, "5.15-generic": {5, 15}, "7.0-rc1": {7, 0}, "odd": {0, 0}, "": {0, 0},
	} {
		if major, minor := kernelVersion(release); major != want[0] || minor != want[1] {
			t.Errorf("%q: got %d.%d, want %v", release, major, minor, want)
		}
	}
}
