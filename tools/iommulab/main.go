// Command iommulab is a laboratory for IOMMUs: replay DMA while its translation is rewritten, take
// snapshots of real machines apart, and compare results. See iommulab --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/iommulab/iommulab/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
