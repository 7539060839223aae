// Command client is the Go client behind the protocol of docs/lab-protocol.md and nothing else: small enough to be built
// once for every mutant.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/slipstream-ota/slipstream/lab/driver"
)

func main() {
	if err := driver.Serve(context.Background(), &driver.Device{}, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
