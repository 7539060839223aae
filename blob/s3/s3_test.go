package s3_test

import (
	"os"
	"testing"

	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/blobtest"
	"github.com/slipstream-ota/slipstream/blob/s3"
	"github.com/slipstream-ota/slipstream/internal/s3test"
)

var gateway = s3test.New()

func TestMain(m *testing.M) { os.Exit(gateway.Run(m)) }

func open(t *testing.T, url string) *s3.Store {
	t.Helper()
	s, err := s3.Open(t.Context(), url, s3.Options{TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContractOnGofakes3(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, s3test.Fake(t)) }, blobtest.BoundedMemory)
}

func TestContractOnVersitygw(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, gateway.Bucket(t)) })
}
