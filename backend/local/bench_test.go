package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
)

func object(k backend.Key, body []byte) backend.Object {
	return backend.Object{
		Key: k, Size: int64(len(body)), Mode: 0o644, ModTime: time.Unix(1767225600, 0),
		Meta: backend.Meta{"sinkfs-instance": "0123456789abcdef", "sinkfs-part": "123456"},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
	}
}

func BenchmarkPutSmall(b *testing.B) {
	s, err := local.Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 4096)
	var n atomic.Int64
	b.SetBytes(int64(len(body)))
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			k := backend.Key(fmt.Sprintf("logs/2026-01-31--09/part-%d.log", n.Add(1)))
			if _, err := s.Put(b.Context(), object(k, body)); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPutLarge(b *testing.B) {
	s, err := local.Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 128<<20)
	b.SetBytes(int64(len(body)))
	for n := 0; b.Loop(); n++ {
		k := backend.Key(fmt.Sprintf("logs/2026-01-31--09/part-%d.log", n))
		if _, err := s.Put(b.Context(), object(k, body)); err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(b.Context(), k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStatAbsent(b *testing.B) {
	s, err := local.Open(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Put(b.Context(), object("logs/2026/part-0.log", nil)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.Stat(b.Context(), "logs/2026/new.log"); !errors.Is(err, backend.ErrNotExist) {
			b.Fatal(err)
		}
	}
}
