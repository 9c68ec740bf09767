package oss_test

import (
	"testing"

	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/internal/faultproxy"
	"github.com/sinkfs/sinkfs/internal/ossfake"
)

func TestFaults(t *testing.T) {
	setEnviron(t)
	for _, versioning := range []ossfake.Versioning{ossfake.Unversioned, ossfake.Enabled} {
		t.Run("versioning="+string(versioning), func(t *testing.T) {
			server := ossfake.New(t, bucket)
			server.SetVersioning(bucket, versioning)
			proxy := faultproxy.New(t, server.URL)
			s := open(t, server, oss.Options{Prefix: "p", Endpoint: proxy.URL, PartSize: 1 << 20, Memory: 2 << 20})
			backendtest.Faults(t, s, proxy, 3<<20+1)
		})
	}
}
