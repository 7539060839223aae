package deliver

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
)

// cache keeps documents of the store, the least recently used going first. A key is loaded once however many ask for
// it at the same time. After a change of the store every entry is loaded again when it is asked for, but an old one
// serves as long as the store is away. What is not there is not remembered.
type cache struct {
	limit   int64
	timeout time.Duration

	mu         sync.Mutex
	generation int64
	used       int64
	order      *list.List // of *cached, most recent first
	entries    map[string]*list.Element
	loading    map[string]*load
}

type cached struct {
	key        string
	doc        *document
	generation int64
}

type load struct {
	done chan struct{}
	doc  *document
	err  error
}

// entryOverhead is what an entry weighs beside its bytes.
const entryOverhead = 512

// staleTimeout bounds the wait for a store that is away when an old entry could be given out instead.
const staleTimeout = time.Second

func newCache(limit int64, timeout time.Duration) *cache {
	return &cache{limit: limit, timeout: timeout, order: list.New(), entries: map[string]*list.Element{}, loading: map[string]*load{}}
}

// get gives the document of key, from memory or by fetch. The fetch does not end with the ctx of the one request that
// happens to run it, since others wait for it too.
func (c *cache) get(ctx context.Context, key string, fetch func(context.Context) ([]byte, error)) (*document, error) {
	c.mu.Lock()
	if el, ok := c.entries[key]; ok {
		if e := el.Value.(*cached); e.generation == c.generation {
			c.order.MoveToFront(el)
			c.mu.Unlock()
			return e.doc, nil
		}
	}
	if l, ok := c.loading[key]; ok {
		c.mu.Unlock()
		select {
		case <-l.done:
			return l.doc, l.err
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s: %w", key, ctx.Err())
		}
	}
	l := &load{done: make(chan struct{}), err: fmt.Errorf("load %s: %w", key, slipstream.ErrUnavailable)}
	c.loading[key] = l
	generation, timeout := c.generation, c.timeout
	if c.entries[key] != nil {
		timeout = min(timeout, staleTimeout)
	}
	c.mu.Unlock()

	defer c.finish(key, l, generation) // also when fetch panics: nobody may wait for ever
	fetching, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	body, err := fetch(fetching)
	if l.err = err; err == nil {
		l.doc = newDocument(body)
	}
	if err != nil && !errors.Is(err, slipstream.ErrNotFound) {
		if old := c.old(key); old != nil {
			l.doc, l.err = old, nil
			generation = -1
		}
	}
	return l.doc, l.err
}

func (c *cache) old(key string) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[key]; ok {
		return el.Value.(*cached).doc
	}
	return nil
}

// finish stores what was loaded under the generation that was current when the load began, so that a change in
// between is not missed.
func (c *cache) finish(key string, l *load, generation int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(l.done)
	delete(c.loading, key)
	if el, ok := c.entries[key]; ok && (l.err == nil || errors.Is(l.err, slipstream.ErrNotFound)) {
		c.remove(el)
	}
	if l.err != nil {
		return
	}
	c.entries[key] = c.order.PushFront(&cached{key: key, doc: l.doc, generation: generation})
	c.used += int64(len(l.doc.body)) + entryOverhead
	for c.used > c.limit && c.order.Len() > 0 {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	e := c.order.Remove(el).(*cached)
	delete(c.entries, e.key)
	c.used -= int64(len(e.doc.body)) + entryOverhead
}

// drop makes the document of key be loaded again before it is given out.
func (c *cache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.entries[key]; ok {
		el.Value.(*cached).generation = -1
	}
}

// expire makes every entry be loaded again before it is given out.
func (c *cache) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generation++
}
