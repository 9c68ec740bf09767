package oss_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/sinkfs/sinkfs/internal/ossfake"
)

const (
	serveVariable = "SINKFS_TEST_SERVE_OSS"
	rolesVariable = "SINKFS_TEST_ROLES"
)

// TestMain is another program when told so: a server, so that a benchmark
// measures the client's work alone, or what TestRoles runs in its namespaces.
func TestMain(m *testing.M) {
	var err error
	switch dir := os.Getenv(rolesVariable); {
	case dir != "":
		err = roles(dir)
	case os.Getenv(serveVariable) != "":
		err = serve()
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// serve says where it listens and ends with its input.
func serve() error {
	address, err := listen(context.Background(), "127.0.0.1:0", nil, ossfake.Make(bucket))
	if err != nil {
		return err
	}
	fmt.Println("http://" + address)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
