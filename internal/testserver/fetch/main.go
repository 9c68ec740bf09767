// Fetch builds the object stores that tests run, so that no test has to.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/sinkfs/sinkfs/internal/testserver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, k := range testserver.Kinds {
		program, err := k.Program(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) // the signal handler ends with the process
		}
		fmt.Println(program)
	}
}
