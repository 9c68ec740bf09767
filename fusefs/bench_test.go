package fusefs_test

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func benchBoth(b *testing.B, run func(b *testing.B, m *mounted)) {
	for _, how := range []string{"on", "off"} {
		b.Run("passthrough="+how, func(b *testing.B) {
			m := mount(b, daemonConfig{Passthrough: how})
			b.ResetTimer()
			run(b, m)
			b.StopTimer()
		})
	}
}

func BenchmarkOpenAppendClose(b *testing.B) {
	benchBoth(b, func(b *testing.B, m *mounted) {
		for b.Loop() {
			fd, err := unix.Open(m.path("a.log"), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND, 0o644)
			must(b, err)
			_, err = unix.Write(fd, []byte("a line\n"))
			must(b, err)
			must(b, unix.Close(fd))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "opens/s")
	})
}

func BenchmarkCreateSmallFile(b *testing.B) {
	data := make([]byte, 4096)
	benchBoth(b, func(b *testing.B, m *mounted) {
		i := 0
		must(b, os.MkdirAll(m.path("files"), 0o755))
		for b.Loop() {
			i++
			fd, err := unix.Open(m.path(fmt.Sprintf("files/%d", i)), unix.O_CREAT|unix.O_WRONLY, 0o644)
			must(b, err)
			_, err = unix.Write(fd, data)
			must(b, err)
			must(b, unix.Close(fd))
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
	})
}

func benchWrite(b *testing.B, flags, size int) {
	data := make([]byte, size)
	for i := range data {
		data[i] = 'x'
	}
	data[size-1] = '\n'
	benchBoth(b, func(b *testing.B, m *mounted) {
		fd, err := unix.Open(m.path("a.log"), unix.O_CREAT|unix.O_WRONLY|flags, 0o644)
		must(b, err)
		b.SetBytes(int64(size))
		for b.Loop() {
			_, err := unix.Write(fd, data)
			must(b, err)
		}
		must(b, unix.Close(fd))
	})
}

func BenchmarkAppend100(b *testing.B) { benchWrite(b, unix.O_APPEND, 100) }
func BenchmarkWrite4K(b *testing.B)   { benchWrite(b, unix.O_TRUNC, 4<<10) }
func BenchmarkWrite1M(b *testing.B)   { benchWrite(b, unix.O_TRUNC, 1<<20) }
