// Command sinkfs mounts a directory that turns plain writes into finished
// part files in an object store, exactly once, and talks to such mounts.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}
