package suffix

import (
	"context"
	"math"

	"github.com/slipstream-ota/slipstream"
)

// Sort gives the positions of text in the order of the suffixes that begin there. It takes time linear in len(text) and
// 4 bytes of memory for each byte, the result included. Texts of 2 GiB and more are refused.
//
// The method is induced sorting (Nong, Zhang, Chan: "Two Efficient Algorithms for Linear Time Suffix Array
// Construction", 2011): sort the few suffixes that are smaller than both neighbours, by recursion where they are not
// unique, and derive the order of all others from theirs in two passes.
func Sort(ctx context.Context, text []byte) ([]int32, error) {
	if len(text) > math.MaxInt32 {
		return nil, slipstream.Invalidf("a text of %d bytes cannot be sorted: 2 GiB is the limit", len(text))
	}
	sa := make([]int32, len(text))
	if err := induced(ctx, text, sa, 256, nil); err != nil {
		return nil, err
	}
	return sa, nil
}

// A suffix is "large" when it is greater than the one that begins a byte later, else "small". A small one behind a
// large one is a valley. The empty suffix at the end is smaller than all.

// sorter is one level of the recursion: text over the symbols 0 … symbols-1.
type sorter[T byte | int32] struct {
	text   []T
	sa     []int32
	count  []int32 // of each symbol
	bucket []int32 // working copy: heads or tails of the symbols' places in sa
}

// induced sorts the suffixes of text into sa, which must be zero. spare may be used as working memory.
func induced[T byte | int32](ctx context.Context, text []T, sa []int32, symbols int, spare []int32) error {
	n := len(text)
	if n < 2 {
		return ctx.Err()
	}
	if len(spare) < 2*symbols {
		spare = make([]int32, 2*symbols)
	}
	s := &sorter[T]{text: text, sa: sa, count: spare[:symbols], bucket: spare[symbols : 2*symbols]}
	clear(s.count)
	for _, c := range text {
		s.count[c]++
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m := s.placeValleys()
	if m > 1 {
		s.sortLarge()
		if err := ctx.Err(); err != nil {
			return err
		}
		s.sortSmall()
		if err := ctx.Err(); err != nil {
			return err
		}
		names := s.nameValleys(m)
		if err := s.sortValleys(ctx, m, names); err != nil {
			return err
		}
		s.spreadValleys(m)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.finishLarge()
	if err := ctx.Err(); err != nil {
		return err
	}
	s.finishSmall()
	return nil
}

func (s *sorter[T]) heads() {
	sum := int32(0)
	for i, c := range s.count {
		s.bucket[i] = sum
		sum += c
	}
}

func (s *sorter[T]) tails() {
	sum := int32(0)
	for i, c := range s.count {
		sum += c
		s.bucket[i] = sum
	}
}

// eachValley calls f with every valley, from the last to the first.
func (s *sorter[T]) eachValley(f func(i int)) {
	small := false
	next := s.text[len(s.text)-1]
	for i := len(s.text) - 2; i >= 0; i-- {
		c := s.text[i]
		if c > next {
			if small {
				f(i + 1)
			}
			small = false
		} else if c < next {
			small = true
		}
		next = c
	}
}

// placeValleys puts every valley at the tail of its first symbol's place, in any order, and counts them.
func (s *sorter[T]) placeValleys() int {
	s.tails()
	m := 0
	s.eachValley(func(i int) {
		c := s.text[i]
		s.bucket[c]--
		s.sa[s.bucket[c]] = int32(i)
		m++
	})
	return m
}

// sortLarge derives the large suffixes from the valleys. Only those stay in sa that follow a small one. A negative
// entry waits for the next pass.
func (s *sorter[T]) sortLarge() {
	s.heads()
	text, sa, bucket := s.text, s.sa, s.bucket
	put := func(q int32) {
		c := text[q]
		b := bucket[c]
		bucket[c] = b + 1
		if q > 0 && text[q-1] < c {
			q = ^q
		}
		sa[b] = q
	}
	put(int32(len(text) - 1))
	for i := range sa {
		p := sa[i]
		if p > 0 {
			sa[i] = 0
			put(p - 1)
		} else if p < 0 {
			sa[i] = ^p
		}
	}
}

// sortSmall derives the small suffixes from the large ones. Only valleys stay in sa, in the order of the text from each
// to the next one.
func (s *sorter[T]) sortSmall() {
	s.tails()
	text, sa, bucket := s.text, s.sa, s.bucket
	for i := len(sa) - 1; i >= 0; i-- {
		p := sa[i]
		if p > 0 {
			sa[i] = 0
			q := p - 1
			c := text[q]
			b := bucket[c] - 1
			bucket[c] = b
			if q > 0 && text[q-1] > c {
				q = ^q
			}
			sa[b] = q
		} else if p < 0 {
			sa[i] = ^p
		}
	}
}

// nameValleys numbers the valleys so that equal ones have equal numbers and the order stays, and leaves the numbers in
// the order of the text in the last m entries of sa. It gives how many different numbers there are.
func (s *sorter[T]) nameValleys(m int) int {
	sa := s.sa
	k := 0
	for _, p := range sa {
		if p > 0 {
			sa[k] = p
			k++
		}
	}
	rest := sa[m:]
	clear(rest)
	end := len(s.text)
	s.eachValley(func(i int) { // two valleys are never neighbours, so half the position names one
		rest[i/2] = int32(end - i + 1)
		end = i
	})
	names := int32(0)
	last, lastLen := int32(0), int32(0)
	for _, p := range sa[:m] {
		n := rest[p/2]
		if n != lastLen || !s.sameSpan(int(last), int(p), int(n)) {
			names++
			last, lastLen = p, n
		}
		rest[p/2] = names
	}
	k = len(sa)
	for i := len(rest) - 1; i >= 0; i-- {
		if rest[i] > 0 {
			k--
			sa[k] = rest[i] - 1
		}
	}
	return int(names)
}

func (s *sorter[T]) sameSpan(a, b, n int) bool {
	if max(a, b)+n > len(s.text) {
		return false
	}
	x, y := s.text[a:a+n], s.text[b:b+n]
	for i, c := range x {
		if c != y[i] {
			return false
		}
	}
	return true
}

// sortValleys leaves the valleys in the order of their suffixes in the first m entries of sa.
func (s *sorter[T]) sortValleys(ctx context.Context, m, names int) error {
	sa := s.sa
	numbers := sa[len(sa)-m:]
	order := sa[:m]
	clear(order)
	if names < m {
		if err := induced(ctx, numbers, order, names, sa[m:len(sa)-m]); err != nil {
			return err
		}
	} else {
		for i, v := range numbers {
			order[v] = int32(i)
		}
	}
	k := m
	s.eachValley(func(i int) {
		k--
		numbers[k] = int32(i)
	})
	for i, v := range order {
		order[i] = numbers[v]
	}
	return nil
}

// spreadValleys moves the sorted valleys to the tails of their places.
func (s *sorter[T]) spreadValleys(m int) {
	s.tails()
	sa := s.sa
	clear(sa[m:])
	for i := m - 1; i >= 0; i-- {
		p := sa[i]
		sa[i] = 0
		c := s.text[p]
		s.bucket[c]--
		sa[s.bucket[c]] = p
	}
}

// finishLarge derives all large suffixes from the sorted valleys. Entries that are done for this pass are negative.
func (s *sorter[T]) finishLarge() {
	s.heads()
	text, sa, bucket := s.text, s.sa, s.bucket
	put := func(q int32) {
		c := text[q]
		b := bucket[c]
		bucket[c] = b + 1
		if q > 0 && text[q-1] < c {
			q = ^q
		}
		sa[b] = q
	}
	put(int32(len(text) - 1))
	for i := range sa {
		p := sa[i]
		sa[i] = ^p
		if p > 0 {
			put(p - 1)
		}
	}
}

// finishSmall derives all small suffixes from the large ones.
func (s *sorter[T]) finishSmall() {
	s.tails()
	text, sa, bucket := s.text, s.sa, s.bucket
	for i := len(sa) - 1; i >= 0; i-- {
		p := sa[i]
		if p <= 0 {
			sa[i] = ^p
			continue
		}
		q := p - 1
		c := text[q]
		b := bucket[c] - 1
		bucket[c] = b
		if q == 0 || text[q-1] > c {
			q = ^q
		}
		sa[b] = q
	}
}
