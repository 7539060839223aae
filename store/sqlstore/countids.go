package sqlstore

import (
	"maps"
	"sync"
)

// maxCountIDs bounds what CountIDs remembers; strangers choose the keys.
const maxCountIDs = 10000

// CountIDs remembers the ids of rows of table counts. Only ids of committed rows may be put in; rows are never deleted.
type CountIDs struct {
	mu  sync.Mutex
	ids map[CountKey]int64
}

// Get finds the id of k.
func (c *CountIDs) Get(k CountKey) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id, ok := c.ids[k]
	return id, ok
}

// Put remembers ids.
func (c *CountIDs) Put(ids map[CountKey]int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil || len(c.ids)+len(ids) > maxCountIDs {
		c.ids = map[CountKey]int64{}
	}
	maps.Copy(c.ids, ids)
}
