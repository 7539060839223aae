package deliver

import (
	"bytes"
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipstream-ota/slipstream"
	"github.com/slipstream-ota/slipstream/blob"
	"github.com/slipstream-ota/slipstream/publish/delta/dcz"
)

// Bounds of coding with dictionaries (RFC 9842). Any two blobs may be asked for together, so what strangers can make the
// server do is bounded by size, by how many are made at a time, and by bytes a day.
const (
	dictionaryLargest = 32 << 20 // bytes of the body and of the dictionary
	dictionaryLeast   = 512      // bytes of the body below which a header is larger than the gain
	dictionaryWorkers = 2        // made at the same time
	dictionaryKnown   = 8192     // pairs that are remembered
	dictionaryDaily   = 1 << 30  // bytes of results kept in a day, and of what is looked at
	dictionaryLook    = 32       // part of that which counts: what gains nothing costs a processor as much
	dictionaryWait    = 10 * time.Second
	codingName        = "dcz"
)

// dictionaries makes bodies coded with a dictionary when they are first asked for, keeps them as blobs, and remembers
// under which hash. Blobs that nothing names are collected some day; then they are made again.
type dictionaries struct {
	blobs   blob.Store
	clock   func() time.Time
	timeout time.Duration // of one access to the blobs
	workers chan struct{}

	mu     sync.Mutex
	order  *list.List // of *codedPair, the most recently used first
	known  map[codedKey]*list.Element
	making map[codedKey]chan struct{}
	day    time.Time // when the budget began
	spent  int64     // of dictionaryDaily
}

type codedKey struct{ dictionary, body slipstream.Digest }

// codedPair is the result for a key. No digest means that it is not worth it.
type codedPair struct {
	key    codedKey
	digest slipstream.Digest
}

func newDictionaries(blobs blob.Store, clock func() time.Time, timeout time.Duration) *dictionaries {
	return &dictionaries{blobs: blobs, clock: clock, timeout: timeout, workers: make(chan struct{}, dictionaryWorkers),
		order: list.New(), known: map[codedKey]*list.Element{}, making: map[codedKey]chan struct{}{}}
}

// get gives the digest of the coded body, or false where the plain one is to be sent: nothing is gained, the dictionary
// is not here, or too much is going on. A request that comes while the body is being made waits for it.
func (d *dictionaries) get(ctx context.Context, key codedKey) (slipstream.Digest, bool) {
	d.mu.Lock()
	if el, ok := d.known[key]; ok {
		d.order.MoveToFront(el)
		d.mu.Unlock()
		p := el.Value.(*codedPair)
		return p.digest, p.digest != ""
	}
	if done, ok := d.making[key]; ok {
		d.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return "", false
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if el, ok := d.known[key]; ok {
			p := el.Value.(*codedPair)
			return p.digest, p.digest != ""
		}
		return "", false
	}
	select {
	case d.workers <- struct{}{}:
	default:
		d.mu.Unlock()
		return "", false
	}
	done := make(chan struct{})
	d.making[key] = done
	d.mu.Unlock()

	var digest slipstream.Digest
	var settled bool
	defer func() { // also when making panics: nobody may wait for ever
		d.mu.Lock()
		delete(d.making, key)
		if settled {
			d.remember(key, digest)
		}
		d.mu.Unlock()
		close(done)
		<-d.workers
	}()
	// Others wait for it too, and the next one will ask: it does not end with this request.
	making, cancel := context.WithTimeout(context.WithoutCancel(ctx), dictionaryWait)
	defer cancel()
	digest, settled = d.make(making, key)
	return digest, digest != ""
}

// remember must be called with the lock held.
func (d *dictionaries) remember(key codedKey, digest slipstream.Digest) {
	d.known[key] = d.order.PushFront(&codedPair{key, digest})
	for d.order.Len() > dictionaryKnown {
		delete(d.known, d.order.Remove(d.order.Back()).(*codedPair).key)
	}
}

// forget drops a result whose blob is gone.
func (d *dictionaries) forget(key codedKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if el, ok := d.known[key]; ok {
		d.order.Remove(el)
		delete(d.known, key)
	}
}

// make codes, compares and stores. settled says whether the answer will stay the same when it is asked for again.
func (d *dictionaries) make(ctx context.Context, key codedKey) (digest slipstream.Digest, settled bool) {
	sizes, err := d.sizes(ctx, key)
	if err != nil {
		return "", false // what is not here may come
	}
	if !worthCoding(sizes[0], sizes[1]) {
		return "", true
	}
	if !d.afford((sizes[0] + sizes[1]) / dictionaryLook) {
		return "", false
	}
	dictionary, err := d.read(ctx, key.dictionary, sizes[0])
	if err != nil {
		return "", false
	}
	body, err := d.read(ctx, key.body, sizes[1])
	if err != nil {
		return "", false
	}
	coded, err := dcz.Encode(dictionary, body)
	if err != nil || len(coded) >= len(body)-len(body)/8 {
		return "", true
	}
	h := sha256.New()
	if err := dcz.Decode(ctx, h, dictionary, bytes.NewReader(coded), int64(len(body))); err != nil || slipstream.DigestOf([32]byte(h.Sum(nil))) != key.body {
		return "", ctx.Err() == nil
	}
	if !d.afford(int64(len(coded))) {
		return "", false
	}
	digest = slipstream.DigestOf(sha256.Sum256(coded))
	if err := d.blobs.Put(ctx, digest, int64(len(coded)), bytes.NewReader(coded)); err != nil {
		return "", false
	}
	return digest, true
}

func worthCoding(dictionary, body int64) bool {
	const apart = 8 // times: so unlike in size, they are hardly versions of one thing
	return body >= dictionaryLeast && max(dictionary, body) <= dictionaryLargest && dictionary >= body/apart && body >= dictionary/apart &&
		dcz.Fits(dictionary, body)
}

// afford takes n bytes off the budget of the day.
func (d *dictionaries) afford(n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.clock(); now.Sub(d.day) >= 24*time.Hour {
		d.day, d.spent = now, 0
	}
	if d.spent+n > dictionaryDaily {
		return false
	}
	d.spent += n
	return true
}

func (d *dictionaries) sizes(ctx context.Context, key codedKey) (sizes [2]int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	for i, digest := range []slipstream.Digest{key.dictionary, key.body} {
		info, err := d.blobs.Stat(ctx, digest)
		if err != nil {
			return sizes, fmt.Errorf("look for %s: %w", digest.Short(), err)
		}
		sizes[i] = info.Size
	}
	return sizes, nil
}

func (d *dictionaries) read(ctx context.Context, digest slipstream.Digest, size int64) (_ []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	object, err := d.blobs.Open(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", digest.Short(), err)
	}
	defer func() { err = errors.Join(err, object.Close()) }()
	body := make([]byte, size)
	if _, err := io.ReadFull(object, body); err != nil {
		return nil, fmt.Errorf("read %s: %w", digest.Short(), err)
	}
	return body, nil
}

// coded answers with the body d coded with the dictionary that the client says it has. done is false where the plain
// body is to be sent. It sets no header then but Vary, which belongs to both.
func (s *Server) coded(w http.ResponseWriter, r *http.Request, d slipstream.Digest) (done bool, err error) {
	h := w.Header()
	h["Vary"] = s.headers.varies
	dictionary, ok := availableDictionary(r.Header)
	if !ok || dictionary == d || !accepts(r.Header["Accept-Encoding"], codingName) {
		return false, nil
	}
	etag := `"` + string(d) + "-" + codingName + "-" + string(dictionary) + `"`
	have := r.Header["If-None-Match"]
	if len(have) > 0 && !matches(have, etag) {
		if plain := `"` + string(d) + `"`; matches(have, plain) {
			return false, nil // the client has the plain body
		}
	}
	// A part is one of the coded body only when the client has the other parts of it.
	if r.Header.Get("Range") != "" && r.Header.Get("If-Range") != etag {
		return false, nil
	}
	key := codedKey{dictionary, d}
	digest, ok := s.dictionaries.get(r.Context(), key)
	if !ok {
		return false, nil
	}
	object, err := s.open(r, digest)
	if errors.Is(err, slipstream.ErrNotFound) {
		s.dictionaries.forget(key)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = object.Close() }() // only read from
	h["Etag"] = []string{etag}
	h["Cache-Control"] = s.headers.immutable
	if matches(have, etag) {
		w.WriteHeader(http.StatusNotModified)
		return true, nil
	}
	h["Content-Encoding"] = s.headers.dcz
	return true, s.serve(w, r, digest, object)
}

// availableDictionary reads the header Available-Dictionary: one byte sequence (RFC 8941 section 3.3.5), a SHA-256. The
// header Dictionary-ID adds nothing to that, so no id is ever given out and one that comes is passed over.
func availableDictionary(h http.Header) (slipstream.Digest, bool) {
	values := h["Available-Dictionary"]
	if len(values) != 1 {
		return "", false
	}
	v, begun := strings.CutPrefix(strings.Trim(values[0], " "), ":")
	v, ended := strings.CutSuffix(v, ":")
	sum, err := base64.StdEncoding.Strict().DecodeString(v)
	if !begun || !ended || err != nil || len(sum) != sha256.Size {
		return "", false
	}
	return slipstream.DigestOf([32]byte(sum)), true
}

// accepts says whether an Accept-Encoding header names a coding, and not with a weight of zero. A "*" is no promise to
// know this one.
func accepts(header []string, coding string) bool {
	return slices.ContainsFunc(header, func(line string) bool {
		for part := range strings.SplitSeq(line, ",") {
			name, parameter, _ := strings.Cut(part, ";")
			if !strings.EqualFold(strings.TrimSpace(name), coding) {
				continue
			}
			weight, weighted := strings.CutPrefix(strings.ReplaceAll(strings.ToLower(parameter), " ", ""), "q=")
			return !weighted || strings.Trim(weight, "0.") != ""
		}
		return false
	})
}
