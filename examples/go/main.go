// Command go shows how a Go program keeps its own content up to date: it prints a rule that lies in the package, says
// that it works, and looks for updates behind. Start it again and it runs what was staged.
//
//	go run ./examples/go --server http://127.0.0.1:8080 --app shop --root root.json --dir ./device
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"

	"github.com/slipstream-ota/slipstream/client"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8080", "base URL")
	app := flag.String("app", "shop", "app")
	root := flag.String("root", "root.json", "the app's root, as app create wrote it")
	dir := flag.String("dir", "./device", "the device's directory")
	file := flag.String("file", "shop.json", "file of the package to print")
	flag.Parse()
	if err := run(context.Background(), *server, *app, *root, *dir, *file); err != nil {
		log.Print(err)
		os.Exit(1)
	}
}

func run(ctx context.Context, server, app, rootFile, dir, file string) (err error) {
	// A real app ships the root inside its binary, by go:embed.
	root, err := os.ReadFile(rootFile)
	if err != nil {
		return err
	}
	c, err := client.Open(ctx, client.Config{Dir: dir, App: app, Servers: []string{server}, Root: root})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()

	launch, err := c.Start(ctx) // a cold start: needs no network
	if err != nil {
		return err
	}
	if main := launch.Packages["main"]; main.Files == nil {
		fmt.Println("nothing is installed yet")
	} else {
		content, err := fs.ReadFile(main.Files, file)
		if err != nil {
			return errors.Join(err, launch.Crash(ctx, err.Error())) // twice, and the release before runs again
		}
		fmt.Printf("running %s:\n%s", main.Version, content)
		if err := launch.Confirm(ctx); err != nil {
			return err
		}
	}

	updated, err := c.Update(ctx) // check, fetch, verify, stage
	if err != nil {
		return fmt.Errorf("no update this time: %w", err)
	}
	for _, o := range updated.Staged {
		fmt.Printf("staged %s, it runs at the next start\n", o.Release.Version)
	}
	return errors.Join(launch.Close(ctx), c.Report(ctx))
}
