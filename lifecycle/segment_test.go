package lifecycle

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/format"
)

// TestSegmentsDoNotDependOnThePaceOfPolling compares the cutter with a model
// that looks at every byte the moment it is written.
func TestSegmentsDoNotDependOnThePaceOfPolling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(1, 40).Draw(t, "max part size")
		hours, err := NewDateTime("HH", time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		c := newCutter(format.Lines{Max: 1 << 20}, hours, Rolling{MaxPartSize: limit, RolloverInterval: 1e18, InactivityInterval: 1e18}, 0)
		var data []byte
		now := time.Unix(0, 0)
		model := map[string][]string{} // bucket: parts, the last one open
		var record []byte
		for range rapid.IntRange(1, 12).Draw(t, "observations") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "hours")) * time.Hour)
			for _, b := range rapid.SliceOfN(rapid.SampledFrom([]byte("ab\n")), 0, 60).Draw(t, "bytes") {
				data, record = append(data, b), append(record, b)
				if b == '\n' {
					modelAdd(model, hours.Assign(nil, now), record, limit)
					record = nil
				}
			}
			if err := c.observe(bytes.NewReader(data), "", int64(len(data)), now); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.sealAll(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, s := range c.take() {
			var part []byte
			for _, r := range s.ranges {
				part = append(part, data[r.Off:r.Off+r.Len]...)
			}
			got[s.bucket] = append(got[s.bucket], string(part))
		}
		for b, parts := range model {
			if parts[len(parts)-1] == "" {
				model[b] = parts[:len(parts)-1]
			}
		}
		if d := cmp.Diff(model, got); d != "" {
			t.Fatalf("segments differ (-model +cutter):\n%s", d)
		}
	})
}

func modelAdd(model map[string][]string, bucket string, record []byte, limit int64) {
	parts := model[bucket]
	if parts == nil {
		parts = []string{""}
	}
	last := &parts[len(parts)-1]
	*last += string(record)
	if int64(len(*last)) > limit {
		parts = append(parts, "")
	}
	model[bucket] = parts
}

func TestDateTimeSpeaksJava(t *testing.T) {
	kolkata, err := time.LoadLocation("Asia/Kolkata")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 31, 23, 5, 7, 89e6, time.UTC)
	for pattern, want := range map[string]string{
		"yyyy-MM-dd--HH":      "2026-02-01--04",
		"'dt='yyyyMMdd/HH-mm": "dt=20260201/04-35",
		"yy/M/d h a":          "26/2/1 4 AM",
		"D SSS EEE MMM XXX":   "32 089 Sun Feb +05:30",
		"yyyy''Q":             "2026'1",
		"YYYY-'W'ww-e":        "2026-W06-1",
		"LLL QQQ X x XX ZZZZ": "Feb Q1 +0530 +0530 +0530 GMT+05:30",
		"uuuuu G EEEEE MMMMM": "02026 AD S F",
		"VV[' 'n]":            "Asia/Kolkata 89000000",
	} {
		d, err := NewDateTime(pattern, kolkata)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		if got := d.Assign(nil, at); got != want {
			t.Errorf("%s: %q, want %q", pattern, got, want)
		}
	}
	for _, bad := range []string{
		"yyyy-BB", "yyyy-bb", "VVV", "WW", "QQQQQQ", "'open", "{", "", "'../..'", "yyyy/'..'", "/yyyy", "yyyy/", "yyyy//MM", "'.'yyyy", "'_sinkfs'", "' '", "yyyy'\n'", "'.sinkfs'/HH",
		"'a234567890b234567890c234567890d234567890e234567890'",
	} {
		if _, err := NewDateTime(bad, time.UTC); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestBucketsNeverClimbOut(t *testing.T) {
	for bucket, want := range map[string]string{"": "", "a/../b": "b", "/abs": "abs", "../../x": "x", " ": " ", ".": ""} {
		if got := bucketDir(bucket); got != want {
			t.Errorf("%q: %q, want %q", bucket, got, want)
		}
	}
}
