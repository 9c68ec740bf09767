package backendtest

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/sinkfs/sinkfs/backend"
)

// SaysWhoIsSilent holds a store at an endpoint that takes connections and
// never answers to an error that names the endpoint.
func SaysWhoIsSilent(t *testing.T, open func(endpoint string) backend.Store) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // the kernel takes the connections
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	endpoint := "http://" + l.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	Says(t, "an endpoint that is silent", open(endpoint).Check(ctx), context.DeadlineExceeded, "no answer from "+endpoint)
}
