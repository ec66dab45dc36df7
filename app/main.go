// Command backbeat is the whole backend of the 抖声 app: every service, the
// gateway and the tools of whoever runs them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	_ "time/tzdata" // dates are shown in a zone that a slim image may not know

	"backbeat/app/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	if err := command.Execute(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "backbeat:", err)
		os.Exit(1)
	}
}
