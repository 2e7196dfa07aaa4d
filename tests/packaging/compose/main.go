// Reads a compose file with the reader that `docker compose` has in it, and prints what it understood as JSON.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithConsistency(true))
	if err == nil {
		project, wrong := cli.ProjectFromOptions(context.Background(), options)
		if err = wrong; err == nil {
			var told []byte
			if told, err = project.MarshalJSON(); err == nil {
				fmt.Println(string(told))
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
