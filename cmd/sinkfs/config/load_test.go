package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
	"github.com/sinkfs/sinkfs/lifecycle"
)

func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("sinkfs.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load("sinkfs.yaml", nil)
}

func TestErrorsSayWhereAndWhatToDo(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{
			"unknown key", "target: /t\nchekpoint:\n  interval: 60s\n",
			`sinkfs.yaml:2:1: key "chekpoint" is not known, the nearest is "checkpoint"`,
		},
		{
			"unknown key below", "target: /t\ncheckpoint:\n  intervall: 60s\n",
			`sinkfs.yaml:3:3: key "intervall" is not known, the nearest is "interval"`,
		},
		{
			"unknown key in flow", "checkpoint: {interval: 60s, retian: 3}\n",
			`sinkfs.yaml:1:29: key "retian" is not known, the nearest is "retain"`,
		},
		{
			"key of another group", "max_part_size: 1MiB\n",
			`sinkfs.yaml:1:1: key "max_part_size" is not known here, it belongs under "sinks[].rolling.max_part_size"`,
		},
		{
			"key like nothing", "store: {gcs: {}}\n",
			`sinkfs.yaml:1:9: key "gcs" is not known, the nearest is "oss"`,
		},
		{
			"key far from all", "control: {permissions: 0600}\n",
			`sinkfs.yaml:1:11: key "permissions" is not known, valid here are group, mode`,
		},
		{
			"unknown key in a sink", "sinks:\n  - path: /a\n    buckets: {}\n",
			`sinkfs.yaml:3:5: key "buckets" is not known, the nearest is "bucket"`,
		},
		{
			"duration without unit", "checkpoint:\n  interval: 60\n",
			`sinkfs.yaml:2:13: checkpoint.interval: "60" has no unit of time, write for example 60s`,
		},
		{
			"duration in words", "checkpoint: {timeout: ten}\n",
			`sinkfs.yaml:1:23: checkpoint.timeout: "ten" is not a duration, write for example 60s, 10m or 24h`,
		},
		{
			"negative duration", "source_ttl: -1h\n",
			`sinkfs.yaml:1:13: source_ttl: "-1h" is negative, a duration is not`,
		},
		{
			"no time", "source_ttl: 0\n",
			`sinkfs.yaml:1:1: source_ttl: 0 is not a time to wait, write for example 60s`,
		},
		{
			"size of unknown unit", "sinks: [{path: /, rolling: {max_part_size: 128M}}]\n",
			`sinkfs.yaml:1:44: sinks[0].rolling.max_part_size: "128M" has no unit of bytes, write for example 128MiB; units are B, KiB, MiB, GiB, TiB, kB, MB, GB, TB`,
		},
		{
			"size in words", "sinks: [{path: /, max_record: big}]\n",
			`sinkfs.yaml:1:31: sinks[0].max_record: "big" is not a size, write for example 128MiB`,
		},
		{
			"size 0", "sinks: [{path: /, rolling: {max_part_size: 0}}]\n",
			`sinkfs.yaml:1:29: sinks[0].rolling.max_part_size: a part holds at least 1 byte`,
		},
		{
			"bool", "manifests: yes\n",
			`sinkfs.yaml:1:12: manifests: "yes" is neither true nor false`,
		},
		{
			"number", "checkpoint: {retain: many}\n",
			`sinkfs.yaml:1:22: checkpoint.retain: "many" is not a whole number`,
		},
		{
			"enum", "mode: stream\n",
			`sinkfs.yaml:1:7: mode: "stream" is not one of its values, write streaming or batch`,
		},
		{"torn", "sinks: [{path: /, torn: deadletter}]\n", `sinkfs.yaml:1:25: sinks[0].torn: "deadletter" is not one of its values, write publish`},
		{
			"file mode", "control: {mode: rw}\n",
			`sinkfs.yaml:1:17: control.mode: "rw" is not a mode, write four octal digits, for example 0640`,
		},
		{
			"executable", "control: {mode: 0755}\n",
			`sinkfs.yaml:1:11: control.mode: 0755 lets files be executed, use the bits of 0666`,
		},
		{
			"group", "control: {group: no-such-group}\n",
			`sinkfs.yaml:1:11: control.group: there is no group "no-such-group", write a name or number of this machine's`,
		},
		{
			"value for a group", "checkpoint: 60s\n",
			`sinkfs.yaml:1:13: checkpoint: keys are missing, write for example "interval: …"`,
		},
		{
			"group for a value", "mode: {a: b}\n",
			`sinkfs.yaml:1:7: mode: one value is wanted here, not a list or keys`,
		},
		{
			"value for a list", "sinks: /events\n",
			`sinkfs.yaml:1:8: sinks: a list is wanted here, write "- …"`,
		},
		{
			"not YAML", "target: [\n",
			`sinkfs.yaml:1:9: this is not YAML: sequence end token ']' not found`,
		},
		{
			"key twice", "mode: batch\nmode: batch\n",
			`sinkfs.yaml:2:1: this is not YAML: mapping key "mode" already defined at [1:1]`,
		},
		{
			"two documents", "mode: batch\n---\nmode: batch\n",
			`sinkfs.yaml:3:5: a second document begins, write one only`,
		},
		{
			"alias of nothing", "checkpoint: *x\n",
			`sinkfs.yaml:1:13: there is no anchor "x" above`,
		},
		{
			"sink without path", "sinks:\n  - kind: file\n",
			`sinkfs.yaml:2:9: sinks[0].path: it is missing, write the directory in the mount, for example /events`,
		},
		{
			"sink twice", "sinks:\n  - path: /a\n  - path: a/\n",
			`sinkfs.yaml:3:5: sinks[1].path: /a is the path of sinks[0] too, a path is one sink`,
		},
		{
			"reserved sink", "sinks: [{path: /a/.sinkfs}]\n",
			`sinkfs.yaml:1:10: sinks[0].path: ".sinkfs" cannot be in it, name a directory of the mount`,
		},
		{
			"sink above", "sinks: [{path: ../a}]\n",
			`sinkfs.yaml:1:10: sinks[0].path: ".." cannot be in it, name a directory of the mount`,
		},
		{
			"pattern", "sinks: [{path: /a, bucket: {pattern: yyyy-TT}}]\n",
			`sinkfs.yaml:1:29: sinks[0].bucket.pattern: bucket pattern "yyyy-TT": letters "TT" are not known, use y M d H m s or another of Java's DateTimeFormatter, or quote them`,
		},
		{
			"zone", "sinks: [{path: /a, bucket: {zone: Asia/Singapur}}]\n",
			`sinkfs.yaml:1:29: sinks[0].bucket.zone: "Asia/Singapur" is not a time zone known here, write for example UTC or Asia/Singapore`,
		},
		{
			"pattern without datetime", "sinks: [{path: /a, kind: file, bucket: {pattern: yyyy}}]\n",
			`sinkfs.yaml:1:41: sinks[0].bucket.pattern: only the datetime assigner has it, write assigner: datetime beside it`,
		},
		{
			"glob", "sinks: [{path: /a, temporary: ['[']}]\n",
			`sinkfs.yaml:1:32: sinks[0].temporary[0]: "[" is not a pattern of a name, write for example *.tmp`,
		},
		{
			"prefix", "sinks: [{path: /a, names: {prefix: a/b}}]\n",
			`sinkfs.yaml:1:28: sinks[0].names.prefix: "a/b" cannot begin a file name, write letters and digits, for example part`,
		},
		{
			"prefix of two lines", "sinks: [{path: /a, names: {prefix: \"a\\nb\"}}]\n",
			`sinkfs.yaml:1:28: sinks[0].names.prefix: "a\nb" cannot begin a file name, write letters and digits, for example part`,
		},
		{
			"hidden prefix", "sinks: [{path: /a, names: {prefix: .part}}]\n",
			`sinkfs.yaml:1:28: sinks[0].names.prefix: ".part" would hide every part from readers, write it without the dot`,
		},
		{
			"suffix", "sinks: [{path: /a, names: {suffix: \".l\\tog\"}}]\n",
			`sinkfs.yaml:1:28: sinks[0].names.suffix: ".l\tog" cannot end a file name, write for example .log`,
		},
		{
			"long suffix", "sinks: [{path: /a, names: {suffix: .a234567890b234567890c234567890d234567890e234567890}}]\n",
			`sinkfs.yaml:1:28: sinks[0].names.suffix: with the prefix it has 55 bytes, write at most 40`,
		},
		{
			"bucket above", "sinks: [{path: /a, bucket: {pattern: \"'../..'\"}}]\n",
			`sinkfs.yaml:1:29: sinks[0].bucket.pattern: bucket pattern "'../..'": its directories would be "../..", in which ".." cannot stand: write for example yyyy-MM-dd--HH`,
		},
		{
			"target with a secret", "target: s3://key:secret@bucket/x\n",
			`sinkfs.yaml:1:1: target: a s3 target has no user, password or parameters, write s3://bucket/prefix; secrets come from the environment`,
		},
		{
			"target of no store", "target: gs://bucket\n",
			`sinkfs.yaml:1:1: target: "gs://" is not a store, write a directory or file://, s3://, oss:// or hdfs://`,
		},
		{
			"target with a host", "target: file://tmp/x\n",
			`sinkfs.yaml:1:1: target: file://tmp names a host, write three slashes: file:///tmp/x`,
		},
		{
			"more than one", "mode: x\nmanifests: 1\nretain: 2\n",
			`sinkfs.yaml:1:7: mode: "x" is not one of its values, write streaming or batch (and 2 more, 'sinkfs config check' lists them)`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := load(t, tt.text)
			if !errors.Is(err, config.ErrInvalid) {
				t.Fatalf("got error %v, want an ErrInvalid", err)
			}
			if got := err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestSecretsAreNotRepeated(t *testing.T) {
	_, err := load(t, "target: oss://id:hunter2@bucket/x\n")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v, want an error without the secret", err)
	}
}

func TestFileMissing(t *testing.T) {
	_, err := config.Load("/nowhere/sinkfs.yaml", nil)
	if !errors.Is(err, config.ErrInvalid) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want an ErrInvalid that is ErrNotExist", err)
	}
}

func TestFlagsWinOverFileOverEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("c.yaml", []byte("checkpoint: {interval: 2m, timeout: 2m}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"SINKFS_CHECKPOINT_INTERVAL=1m", "SINKFS_CHECKPOINT_TIMEOUT=1m", "SINKFS_CHECKPOINT_COMMIT_TIMEOUT=1m",
		"SINKFS_STORE_S3_PATH_STYLE=true", "SINKFS_TARGET=/from/env", "SINKFS_SERVICE_HOST=10.0.0.1", "SINKFS_MODE=",
	}
	c, err := config.Load("c.yaml", env, config.Override{Key: "checkpoint.interval", Value: "3m", Flag: "--checkpoint-interval"})
	if err != nil {
		t.Fatal(err)
	}
	minutes := func(n int) config.Duration { return config.Duration(time.Duration(n) * time.Minute) }
	got := []any{c.Checkpoint.Interval, c.Checkpoint.Timeout, c.Checkpoint.CommitTimeout, c.Store.S3.PathStyle, c.Target, c.Mode}
	want := []any{minutes(3), minutes(2), minutes(1), true, "file:///from/env", "streaming"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestErrorsNameFlagAndVariable(t *testing.T) {
	_, err := config.Load("", []string{"SINKFS_CHECKPOINT_INTERVAL=soon"})
	want := `SINKFS_CHECKPOINT_INTERVAL: "soon" is not a duration, write for example 60s, 10m or 24h`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	_, err = config.Load("", nil, config.Override{Key: "mode", Value: "fast", Flag: "--mode"})
	want = `--mode: "fast" is not one of its values, write streaming or batch`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestAnchorsAndMerge(t *testing.T) {
	c, err := load(t, `
sinks:
  - path: /a
    rolling: &fast {max_part_size: 1MiB, rollover_interval: 5s}
  - path: /b
    rolling:
      rollover_interval: 7s
      <<: *fast
  - path: /c
    rolling: *fast
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Duration{5 * time.Second, 7 * time.Second, 5 * time.Second} {
		if got := time.Duration(c.SinkList[i].Rolling.RolloverInterval); got != want {
			t.Errorf("sink %d: got %v, want %v", i, got, want)
		}
		if got := c.SinkList[i].Rolling.MaxPartSize; got != 1<<20 {
			t.Errorf("sink %d: got size %v, want 1MiB", i, got)
		}
	}
}

func TestGlobLists(t *testing.T) {
	c, err := load(t, `
sinks:
  - {path: /replaced, temporary: ["*.x"]}
  - {path: /added, temporary: ["*.x", $default]}
  - {path: /none, temporary: [], whole: }
`)
	if err != nil {
		t.Fatal(err)
	}
	standard := lifecycle.DefaultTemporary()
	for i, want := range [][]string{{"*.x"}, append([]string{"*.x"}, standard...), {}, standard} {
		if d := cmp.Diff(want, c.SinkList[i].Temporary); d != "" {
			t.Errorf("%s: (-want +got)\n%s", c.SinkList[i].Path, d)
		}
	}
	if len(c.SinkList[2].Whole) == 0 {
		t.Error("a key without a value took the defaults away")
	}
}

func TestSinkAtRootAlwaysExists(t *testing.T) {
	for _, text := range []string{"", "sinks: [{path: /a, kind: file}]\n", "sinks: [{path: /, kind: file}]\n"} {
		c, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		sinks, err := c.Sinks()
		if err != nil {
			t.Fatal(err)
		}
		var roots int
		for _, s := range sinks {
			if s.Path == "" {
				roots++
			}
		}
		if roots != 1 {
			t.Errorf("%q: got %d sinks at the root, want 1", text, roots)
		}
	}
}

func TestKindDecidesTheAssigner(t *testing.T) {
	c, err := load(t, "sinks: [{path: /s}, {path: /f, kind: file}, {path: /d, kind: file, bucket: {assigner: datetime}}]\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []config.Bucket
	for _, s := range c.SinkList {
		got = append(got, s.Bucket)
	}
	hourly := config.Bucket{Assigner: "datetime", Pattern: "yyyy-MM-dd--HH", Zone: "UTC"}
	if d := cmp.Diff([]config.Bucket{hourly, {Assigner: "base-path"}, hourly, hourly}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestControlModeWidensForAGroup(t *testing.T) {
	for text, want := range map[string]config.FileMode{
		"": 0o600, "control: {group: '0'}": 0o660, "control: {group: 0, mode: 0620}": 0o620, "control: {mode: 0o640}": 0o640,
	} {
		c, err := load(t, text)
		if err != nil {
			t.Fatal(err)
		}
		if c.Control.Mode != want {
			t.Errorf("%q: got %v, want %v", text, c.Control.Mode, want)
		}
	}
}

func TestShowIsReadAgain(t *testing.T) {
	c, err := load(t, string(config.Sample()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := c.Show()
	if err != nil {
		t.Fatal(err)
	}
	again, err := load(t, string(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if d := cmp.Diff(c, again, cmpopts.IgnoreUnexported(config.Config{})); d != "" {
		t.Errorf("(-first +again)\n%s", d)
	}
}

func TestPathsAreAbsolute(t *testing.T) {
	c, err := load(t, "target: t\nstate_dir: s\nspool_dir: ./p\n")
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Target, c.StateDir, c.SpoolDir}
	if d := cmp.Diff([]string{"file://" + wd + "/t", filepath.Join(wd, "s"), filepath.Join(wd, "p")}, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
