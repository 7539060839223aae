package protocol

import "time"

// SetAwait changes how long Settle waits for what is rendered.
func (k *Keeper) SetAwait(d time.Duration) { k.await = d }
