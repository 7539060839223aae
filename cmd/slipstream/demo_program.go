//go:build !device

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

// newDemoProgramCommand is what the demo's device runs: the shop's own server, so that the demo needs nothing but this
// binary. It does what testdata/shop's server.js does: it checks the shop's data and refuses to open with a wrong one.
func newDemoProgramCommand(t *tool) *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:    "demo-program DIR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return runShop(c.Context(), t.stdout, args[0], listen)
		},
	}
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "address to serve the shop on")
	return c
}

// shopData is what the shop's server reads before it opens.
type shopData struct {
	Name, Version string
	Data          []string
	catalogue     struct {
		Products []struct{ ID string }
	}
	prices     struct{ Cents map[string]int }
	promotions struct {
		Promotions []struct {
			ID      string
			Percent int
		}
	}
}

func runShop(ctx context.Context, out io.Writer, dir, listen string) error {
	shop, err := readShop(dir)
	if err != nil {
		return fmt.Errorf("the shop stays closed: %w", err)
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("open the shop: %w", err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(out, "%s %s: %d products on http://%s/\n", shop.Name, shop.Version, len(shop.catalogue.Products), listener.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		err = errors.Join(server.Shutdown(closing), <-served)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func readShop(dir string) (*shopData, error) {
	var s shopData
	if err := readJSON(filepath.Join(dir, "shop.json"), &s); err != nil {
		return nil, err
	}
	parts := []any{&s.catalogue, &s.prices, &s.promotions}
	if len(s.Data) != len(parts) {
		return nil, fmt.Errorf("shop.json names %d data files, not %d", len(s.Data), len(parts))
	}
	for i, name := range s.Data {
		if err := readJSON(filepath.Join(dir, filepath.FromSlash(name)), parts[i]); err != nil {
			return nil, err
		}
	}
	for _, p := range s.catalogue.Products {
		if s.prices.Cents[p.ID] <= 0 {
			return nil, fmt.Errorf("no price for %s", p.ID)
		}
	}
	for _, p := range s.promotions.Promotions {
		if p.Percent <= 0 || p.Percent >= 100 {
			return nil, fmt.Errorf("promotion %s gives %d %%", p.ID, p.Percent)
		}
	}
	return &s, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return nil
}
