package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
)

// pair writes two settings that must always be equal.
func pair(ctx context.Context, s store.Store, n int) error {
	return s.Update(ctx, func(tx store.Tx) error {
		value := fmt.Append(nil, n)
		return errors.Join(tx.Settings().Set(ctx, "a", value), tx.Settings().Set(ctx, "b", value))
	})
}

func TestABackupIsConsistentWhileWritesGoOn(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if err := pair(t.Context(), s, 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			if err := pair(ctx, s, n); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	for i := range 5 {
		to := filepath.Join(filepath.Dir(path), fmt.Sprintf("it's backup %d.db", i))
		if err := s.Backup(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		copied := open(t, to, sqlite.Options{})
		if err := copied.View(t.Context(), func(tx store.Tx) error {
			a, err1 := tx.Settings().Get(t.Context(), "a")
			b, err2 := tx.Settings().Get(t.Context(), "b")
			if string(a) != string(b) {
				t.Errorf("a is %s, b is %s", a, b)
			}
			return errors.Join(err1, err2)
		}); err != nil {
			t.Error(err)
		}
		if err := createApp(t.Context(), copied, "shop"); err != nil {
			t.Errorf("the copy is not usable: %v", err)
		}
	}
	cancel()
	wg.Wait()
}

func TestABackupIsPrivateLeavesNothingElseAndNeverOverwrites(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	dir := t.TempDir()
	to := filepath.Join(dir, "backup.db")
	if err := s.Backup(t.Context(), to); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(t.Context(), to); !errors.Is(err, slipstream.ErrConflict) {
		t.Errorf("a second backup to the same file: %v", err)
	}
	after, err := os.ReadFile(to)
	if err != nil || string(before) != string(after) {
		t.Errorf("the first backup changed, %v", err)
	}
	info, err := os.Stat(to)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	s, _ := fresh(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, filepath.Join(dir, "backup.db")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	if err := s.Backup(t.Context(), filepath.Join(dir, "none", "backup.db")); err == nil || strings.Contains(err.Error(), "SQLITE") {
		t.Errorf("error is %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}
