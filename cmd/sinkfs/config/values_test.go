package config_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sinkfs/sinkfs/cmd/sinkfs/config"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]config.Size{
		"0": 0, "1": 1, "128MiB": 128 << 20, "1.5GiB": 3 << 29, "1 kB": 1000, "2mib": 2 << 20, "3B": 3, "1TB": 1e12,
	} {
		var got config.Size
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", text, int64(got), err, int64(want))
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5", "1e3", "1 M", "10EiB", "9999999TiB", "0x10", "NaN", "Inf"} {
		var got config.Size
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %d, want an error", text, int64(got))
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "60s": time.Minute, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "250ms": 250 * time.Millisecond, "0s": 0,
	} {
		var got config.Duration
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestValuesReadWhatTheyWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := config.Size(rapid.Int64Range(0, 1<<53).Draw(t, "size"))
		var s config.Size
		if err := s.UnmarshalText([]byte(size.String())); err != nil || s != size {
			t.Fatalf("size %d is written %v and read %d, %v", int64(size), size, int64(s), err)
		}
		duration := config.Duration(rapid.Int64Range(0, 1<<62).Draw(t, "duration"))
		var d config.Duration
		if err := d.UnmarshalText([]byte(duration.String())); err != nil || d != duration {
			t.Fatalf("duration %d is written %v and read %d, %v", int64(duration), duration, int64(d), err)
		}
		mode := config.FileMode(rapid.Uint32Range(0, 0o777).Draw(t, "mode"))
		var m config.FileMode
		if err := m.UnmarshalText([]byte(mode.String())); err != nil || m != mode {
			t.Fatalf("mode %d is written %v and read %d, %v", mode, mode, m, err)
		}
	})
}
