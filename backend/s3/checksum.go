package s3

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// The table is the hardware's where there is one.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const sumPrefix = "crc32c:"

func formatSum(sum uint32) string { return fmt.Sprintf("%s%08x", sumPrefix, sum) }

func parseSum(text string) (uint32, bool) {
	digits, ok := strings.CutPrefix(text, sumPrefix)
	sum, err := strconv.ParseUint(digits, 16, 32)
	return uint32(sum), ok && err == nil
}

// wireSum is a checksum as S3 writes it.
func wireSum(sum uint32) *string {
	text := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum))
	return &text
}

// readSum reads what S3 wrote. A sum of the sums of parts has a dash and is
// none of the body.
func readSum(text *string) (uint32, bool) {
	if text == nil {
		return 0, false
	}
	raw, err := base64.StdEncoding.DecodeString(*text)
	if err != nil || len(raw) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(raw), true
}

// combine returns the checksum of a text from those of its two pieces, of
// which the second has n bytes: CRC is linear, n zero bytes are a matrix.
func combine(first, second uint32, n int64) uint32 {
	if n <= 0 {
		return first
	}
	// The matrix of one zero bit, as columns.
	m := [32]uint32{crc32.Castagnoli}
	for i := 1; i < 32; i++ {
		m[i] = 1 << (i - 1)
	}
	for range 3 { // of a byte
		m = square(m)
	}
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			first = times(m, first)
		}
		m = square(m)
	}
	return first ^ second
}

func times(m [32]uint32, v uint32) (sum uint32) {
	for i := 0; v != 0; i, v = i+1, v>>1 {
		if v&1 != 0 {
			sum ^= m[i]
		}
	}
	return sum
}

func square(m [32]uint32) (s [32]uint32) {
	for i, column := range m {
		s[i] = times(m, column)
	}
	return s
}

// crc is CRC32C as sums of parts are put together.
type crc struct{}

var _ objects.Sum = crc{}

func (crc) Update(sum uint64, p []byte) uint64 {
	return uint64(crc32.Update(uint32(sum), castagnoli, p))
}

func (crc) Text(sum uint64) string { return formatSum(uint32(sum)) }

func (crc) Combine(first, second uint64, n int64) uint64 {
	return uint64(combine(uint32(first), uint32(second), n))
}

func sumOf(o backend.Object) (uint32, error) {
	sum, err := objects.SumOf(o, crc{})
	return uint32(sum), err
}

func sumOfProbe() uint32 { return crc32.Checksum([]byte(probeText), castagnoli) }
