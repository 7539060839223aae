package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/sqlite"
	"github.com/slipstream-ota/slipstream/store/storetest"
)

func open(t testing.TB, path string, o sqlite.Options) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, o)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, slipstream.HintOf(err))
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func fresh(t testing.TB) (*sqlite.Store, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "slipstream.db")
	return open(t, path, sqlite.Options{Migrate: true}), path
}

func createApp(ctx context.Context, s store.Store, name string) error {
	return s.Update(ctx, func(tx store.Tx) error { return tx.Apps().Create(ctx, store.App{Name: name}) })
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() store.Store {
		path := filepath.Join(t.TempDir(), "a folder ?#%", "slipstream.db")
		return func() store.Store { return open(t, path, sqlite.Options{Migrate: true}) }
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	_, path := fresh(t)
	schema, err := sqlite.Status(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Upgrade(t, schema.Latest, func(t *testing.T, version int64) storetest.Old {
		path := filepath.Join(t.TempDir(), "old.db")
		db, err := sqlite.AtSchema(t.Context(), path, version)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return storetest.Old{DB: db, Open: func(migrate bool) (store.Store, error) {
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{Migrate: migrate})
			if err != nil {
				return nil, err
			}
			return s, nil
		}}
	})
}

func TestStatusNamesThePendingStepsAndChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "old.db")
	db, err := sqlite.AtSchema(t.Context(), path, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for range 2 {
		schema, err := sqlite.Status(t.Context(), path)
		if err != nil || schema.Version != 1 || len(schema.Pending) == 0 || !strings.HasPrefix(schema.Pending[0], "0002_") {
			t.Fatalf("%+v, %v", schema, err)
		}
	}
	if err := sqlite.Migrate(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if schema, err := sqlite.Status(t.Context(), path); err != nil || len(schema.Pending) != 0 || schema.Version != schema.Latest {
		t.Errorf("after Migrate: %+v, %v", schema, err)
	}
}

func TestEightNodesThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "slipstream.db")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path, sqlite.Options{Migrate: true})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if schema, err := sqlite.Status(t.Context(), path); err != nil || len(schema.Pending) != 0 {
		t.Errorf("%+v, %v", schema, err)
	}
}

func TestTheFileIsPrivate(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if err := createApp(t.Context(), s, "shop"); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path+suffix, info.Mode())
		}
	}
}

func TestMemoryIsATemporaryFileThatCloseRemoves(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	s := open(t, ":memory:", sqlite.Options{})
	if err := createApp(t.Context(), s, "shop"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestWhatCannotBeOpenedIsRefusedWithAdvice(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sqlite.Raw(foreign)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE theirs (x)`); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		o          sqlite.Options
	}{
		{"no database and no permission to make one", filepath.Join(dir, "none.db"), sqlite.Options{}},
		{"no database to read", filepath.Join(dir, "none.db"), sqlite.Options{ReadOnly: true}},
		{"a file that is no database", text, sqlite.Options{Migrate: true}},
		{"another program's database", foreign, sqlite.Options{Migrate: true}},
		{"a folder", dir, sqlite.Options{Migrate: true}},
	} {
		s, err := sqlite.Open(t.Context(), c.path, c.o)
		if err == nil || s != nil || slipstream.HintOf(err) == "" {
			t.Errorf("%s: %v, %v, hint %q", c.name, s, err, slipstream.HintOf(err))
		}
	}
}

func TestReadOnlyReadsAndDoesNotWrite(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if err := createApp(t.Context(), s, "shop"); err != nil {
		t.Fatal(err)
	}
	r := open(t, path, sqlite.Options{ReadOnly: true})
	if err := r.View(t.Context(), func(tx store.Tx) error { _, err := tx.Apps().Get(t.Context(), "shop"); return err }); err != nil {
		t.Error(err)
	}
	if err := createApp(t.Context(), r, "other"); err == nil {
		t.Error("a read-only store writes")
	}
	if _, err := r.Reports().Append(t.Context(), []store.StoredEvent{{}}); err == nil {
		t.Error("a read-only store takes reports")
	}
}

func TestTheAuditTableItselfRefusesChanges(t *testing.T) {
	t.Parallel()
	s, path := fresh(t)
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Log().Audit().Append(t.Context(), store.AuditEntry{Action: "x"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Raw(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{`DELETE FROM audit`, `UPDATE audit SET actor = 'x'`} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s succeeds", statement)
		}
	}
}
