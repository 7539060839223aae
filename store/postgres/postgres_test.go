package postgres_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/internal/pgtest"
	"github.com/slipstream-ota/slipstream/store"
	"github.com/slipstream-ota/slipstream/store/postgres"
	"github.com/slipstream-ota/slipstream/store/storetest"
)

var cluster = pgtest.New()

func TestMain(m *testing.M) { os.Exit(cluster.Run(m)) }

func open(t testing.TB, url string, o postgres.Options) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, o)
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

func createApp(ctx context.Context, s store.Store, name string) error {
	return s.Update(ctx, func(tx store.Tx) error { return tx.Apps().Create(ctx, store.App{Name: name}) })
}

// run executes statements past the store.
func run(t *testing.T, url, statements string) error {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.PgConn().Exec(t.Context(), statements).ReadAll()
	return errors.Join(err, c.Close(t.Context()))
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() store.Store {
		url := cluster.Database(t)
		return func() store.Store { return open(t, url, postgres.Options{Migrate: true}) }
	})
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	schema, err := postgres.Status(t.Context(), cluster.Database(t))
	if err != nil || schema.Version != 0 || len(schema.Pending) != int(schema.Latest) {
		t.Fatalf("of an empty database: %+v, %v", schema, err)
	}
	storetest.Upgrade(t, schema.Latest, func(t *testing.T, version int64) storetest.Old {
		url := cluster.Database(t)
		db, closeDB, err := postgres.AtSchema(t.Context(), url, version)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = closeDB() })
		return storetest.Old{DB: db, Open: func(migrate bool) (store.Store, error) {
			s, err := postgres.Open(t.Context(), url, postgres.Options{Migrate: migrate})
			if err != nil {
				return nil, err
			}
			return s, nil
		}}
	})
}

func TestEightNodesThatStartAtOnceMigrateOnce(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), url); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if schema, err := postgres.Status(t.Context(), url); err != nil || len(schema.Pending) != 0 {
		t.Errorf("%+v, %v", schema, err)
	}
}

func TestErrorsSayWhatToCheckAndNeverThePassword(t *testing.T) {
	t.Parallel()
	good, err := url.Parse(cluster.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2hunter2"
	with := func(change func(u *url.URL)) string {
		u := *good
		u.User = url.UserPassword("postgres", secret)
		change(&u)
		return u.String()
	}
	password, _ := good.User.Password()
	for _, c := range []struct {
		name, url, hint string
		kind            error
	}{
		{"nothing listens", with(func(u *url.URL) { u.Host = nobody }), nobody, slipstream.ErrUnavailable},
		{"no such host", with(func(u *url.URL) { u.Host = "db.invalid" }), "db.invalid", slipstream.ErrUnavailable},
		{"the password is wrong", with(func(*url.URL) {}), "check user and password", slipstream.ErrUnavailable},
		{"the database is missing", with(func(u *url.URL) { u.User, u.Path = good.User, "none" }), `database "none"`, slipstream.ErrUnavailable},
		{"the URL is no URL", "postgres://postgres:" + secret + "@host:port/x", "it looks like", nil},
	} {
		s, err := postgres.Open(t.Context(), c.url, postgres.Options{Migrate: true})
		if err == nil || s != nil {
			t.Fatalf("%s: opened", c.name)
		}
		if c.kind != nil && !errors.Is(err, c.kind) {
			t.Errorf("%s: %v is not %v", c.name, err, c.kind)
		}
		if !strings.Contains(slipstream.HintOf(err), c.hint) {
			t.Errorf("%s: hint %q, want %q in it", c.name, slipstream.HintOf(err), c.hint)
		}
		if text := err.Error() + slipstream.HintOf(err); strings.Contains(text, secret) || strings.Contains(text, password) {
			t.Errorf("%s: the password is told: %s", c.name, text)
		}
	}
}

const dropOthers = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`

func TestALostConnectionIsUnavailableOnceAndThenMadeAgain(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s := open(t, url, postgres.Options{Migrate: true})
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := run(t, url, dropOthers); err != nil {
			t.Fatal(err)
		}
		return tx.Apps().Create(t.Context(), store.App{Name: "shop"})
	})
	if !errors.Is(err, slipstream.ErrUnavailable) {
		t.Errorf("error is %v", err)
	}
	if err := createApp(t.Context(), s, "shop"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestWatchSurvivesTheLossOfItsConnections(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s, other := open(t, url, postgres.Options{Migrate: true}), open(t, url, postgres.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func() { calls <- struct{}{} }) }()
	<-calls
	for _, name := range []string{"one", "two"} {
		if err := run(t, url, dropOthers); err != nil {
			t.Fatal(err)
		}
		for err := createApp(ctx, other, name); err != nil; err = createApp(ctx, other, name) {
			if !errors.Is(err, slipstream.ErrUnavailable) {
				t.Fatal(err)
			}
		}
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %s", name)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNotificationsAloneTellTheChangesOfAnotherNode(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s, other := open(t, url, postgres.Options{Migrate: true}), open(t, url, postgres.Options{})
	s.OnlyNotifications()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 100)
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx, func() { calls <- struct{}{} }) }()
	<-calls
	for _, name := range []string{"one", "two", "three"} {
		if err := createApp(ctx, other, name); err != nil {
			t.Fatal(err)
		}
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("not told of %s", name)
		}
	}
	cancel()
	<-done
}

func TestAppendDoesNotWaitForAnUpdate(t *testing.T) {
	t.Parallel()
	s := open(t, cluster.Database(t), postgres.Options{Migrate: true})
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := s.Reports().Append(t.Context(), []store.StoredEvent{{Event: slipstream.Event{ID: "e", App: "shop"}}})
		return errors.Join(err, tx.Settings().Set(t.Context(), "k", nil))
	}); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyReadsAndDoesNotWrite(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	if err := createApp(t.Context(), open(t, url, postgres.Options{Migrate: true}), "shop"); err != nil {
		t.Fatal(err)
	}
	r := open(t, url, postgres.Options{ReadOnly: true})
	if err := r.View(t.Context(), func(tx store.Tx) error { _, err := tx.Apps().Get(t.Context(), "shop"); return err }); err != nil {
		t.Error(err)
	}
	if err := createApp(t.Context(), r, "other"); err == nil {
		t.Error("a read-only store writes")
	}
}

func TestTheAuditTableItselfRefusesChanges(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	s := open(t, url, postgres.Options{Migrate: true})
	if err := s.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Log().Audit().Append(t.Context(), store.AuditEntry{Action: "x"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`DELETE FROM audit`, `UPDATE audit SET actor = 'x'`, `TRUNCATE audit`} {
		if err := run(t, url, statement); err == nil {
			t.Errorf("%s succeeds", statement)
		}
	}
}

func TestCommitsWaitForTheDiskEvenWhereTheServerSaysOtherwise(t *testing.T) {
	t.Parallel()
	url := cluster.Database(t)
	if err := run(t, url, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`); err != nil {
		t.Fatal(err)
	}
	s := open(t, url, postgres.Options{Migrate: true})
	if got := s.SynchronousCommit(t.Context()); got != "on" {
		t.Errorf("synchronous_commit is %q", got)
	}
}
