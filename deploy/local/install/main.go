// Command install makes sure that the named Debian packages are installed:
//
//	go run ./deploy/local/install mariadb-server redis-server
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"backbeat/deploy/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := local.Install(ctx, os.Args[1:]...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
