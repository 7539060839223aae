package powercut_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipstream-ota/slipstream/internal/powercut"
)

func TestASyncedFileSurvivesEveryCutAfterIt(t *testing.T) {
	if err := powercut.Supported(); err != nil {
		t.Skip(err)
	}
	disk, err := powercut.New(t.Context(), t.TempDir(), 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(disk.Dir(), "file")
	werr := write(name, disk.Dir())
	done := disk.Len()
	if err := errors.Join(werr, write(filepath.Join(disk.Dir(), "other"), disk.Dir()), disk.Close()); err != nil {
		t.Fatal(err)
	}
	if len(disk.Flushes()) == 0 || done == 0 || disk.Len() <= done {
		t.Fatalf("%d flushes, %d of %d writes logged", len(disk.Flushes()), done, disk.Len())
	}
	before := 0
	for i, cut := range []int{0, done / 2, done, (done + disk.Len()) / 2, disk.Len()} {
		err := powercut.With(t.Context(), t.TempDir(), disk.Image(cut, uint64(i)), func(dir string) error {
			got, err := os.ReadFile(filepath.Join(dir, "file"))
			switch {
			case cut >= done && (err != nil || string(got) != "content"):
				t.Errorf("cut at %d of %d, synced at %d: %q, %v", cut, disk.Len(), done, got, err)
			case cut == 0 && err == nil:
				t.Error("it is there before it was written")
			case err != nil:
				before++
			}
			return nil
		})
		if err != nil {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if before == 0 {
		t.Error("no cut came before the file")
	}
}

func write(name, dir string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteString("content")
	d, derr := os.Open(dir)
	if derr != nil {
		return derr
	}
	return errors.Join(err, f.Sync(), f.Close(), d.Sync(), d.Close())
}
