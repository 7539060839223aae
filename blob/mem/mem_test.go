package mem_test

import (
	"testing"

	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/blob/blobtest"
	"github.com/slipstream-ota/slipstream/blob/mem"
)

func TestContract(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return mem.New() }, blobtest.BoundedMemory)
}
