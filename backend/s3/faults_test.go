package s3_test

import (
	"testing"

	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

func TestFaults(t *testing.T) {
	setEnviron(t)
	testserver.Each(t, func(t *testing.T, server *testserver.Server) {
		proxy := faultproxy.New(t, server.URL)
		makeBucket(t, server.URL, "faults")
		s := open(t, s3.Options{Bucket: "faults", Prefix: "p", Endpoint: proxy.URL, PartSize: 5 << 20, Memory: 10 << 20})
		backendtest.Faults(t, s, proxy, 12<<20)
	})
}
