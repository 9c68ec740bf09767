package oss

import (
	"fmt"
	"hash/crc64"
	"net/http"
	"strconv"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

var ecma = crc64.MakeTable(crc64.ECMA)

// crc is CRC64 by ECMA-182, the checksum that OSS keeps of every object.
type crc struct{}

var _ objects.Sum = crc{}

func (crc) Update(sum uint64, p []byte) uint64 { return crc64.Update(sum, ecma, p) }

func (crc) Text(sum uint64) string { return formatSum(sum) }

func (crc) Combine(first, second uint64, n int64) uint64 {
	return aliyun.CRC64Combine(first, second, uint64(max(0, n)))
}

func formatSum(sum uint64) string { return fmt.Sprintf("crc64ecma:%016x", sum) }

// readSum reads what OSS says of an object, which it writes as a decimal.
func readSum(h http.Header) (uint64, bool) {
	sum, err := strconv.ParseUint(h.Get(aliyun.HTTPHeaderOssCRC64), 10, 64)
	return sum, err == nil
}
