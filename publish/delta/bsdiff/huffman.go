package bsdiff

import "slices"

// writeSymbols codes a block's symbols with two to six Huffman tables, of which each group of 50 symbols uses the one
// that suits it. Tables and choices are fitted to each other in a few rounds.
func writeSymbols(w *bitWriter, symbols []uint16, alphabet int) {
	groups := (len(symbols) + bzGroup - 1) / bzGroup
	tables := firstTables(symbols, alphabet)
	choice := make([]uint8, groups)
	for range bzRounds {
		counts := make([][]int, len(tables))
		for t := range counts {
			counts[t] = make([]int, alphabet)
		}
		for g := range groups {
			part := symbols[g*bzGroup : min((g+1)*bzGroup, len(symbols))]
			choice[g] = cheapest(tables, part)
			for _, s := range part {
				counts[choice[g]][s]++
			}
		}
		for t := range tables {
			tables[t] = codeLengths(counts[t])
		}
	}
	w.bits(uint64(len(tables)), 3)
	w.bits(uint64(groups), 15)
	writeChoices(w, choice, len(tables))
	codes := make([][]uint32, len(tables))
	for t, lengths := range tables {
		writeLengths(w, lengths)
		codes[t] = assignCodes(lengths)
	}
	for g := range groups {
		lengths, code := tables[choice[g]], codes[choice[g]]
		for _, s := range symbols[g*bzGroup : min((g+1)*bzGroup, len(symbols))] {
			w.bits(uint64(code[s]), uint(lengths[s]))
		}
	}
}

// firstTables divides the alphabet into as many ranges of about equal use as there will be tables; each table begins
// with short codes for its range.
func firstTables(symbols []uint16, alphabet int) [][]uint8 {
	n := bzMaxTables
	for i, limit := range []int{200, 600, 1200, 2400} {
		if len(symbols) < limit {
			n = i + 2
			break
		}
	}
	counts := make([]int, alphabet)
	for _, s := range symbols {
		counts[s]++
	}
	tables := make([][]uint8, n)
	left, from := len(symbols), 0
	for t := range tables {
		want, sum, to := left/(n-t), 0, from
		for to < alphabet && (sum < want || t == n-1) {
			sum += counts[to]
			to++
		}
		tables[t] = make([]uint8, alphabet)
		for s := range tables[t] {
			if s < from || s >= to {
				tables[t][s] = 15
			}
		}
		left -= sum
		from = to
	}
	return tables
}

func cheapest(tables [][]uint8, part []uint16) uint8 {
	best, cost := 0, int(^uint(0)>>1)
	for t, lengths := range tables {
		sum := 0
		for _, s := range part {
			sum += int(lengths[s])
		}
		if sum < cost {
			best, cost = t, sum
		}
	}
	return uint8(best)
}

// codeLengths gives the lengths of a Huffman code for the counts, none above bzMaxCode: while one is, counts are made
// more alike. Every symbol gets a code, also those that do not occur.
func codeLengths(counts []int) []uint8 {
	weights := make([]int, len(counts))
	for i, c := range counts {
		weights[i] = max(c, 1)
	}
	for {
		lengths, longest := huffman(weights)
		if longest <= bzMaxCode {
			return lengths
		}
		for i := range weights {
			weights[i] = weights[i]/2 + 1
		}
	}
}

// huffman builds the tree with two queues: leaves by weight, and inner nodes in the order they are made, which is by
// weight too. There are at least two symbols: the end and one byte have theirs.
func huffman(weights []int) (lengths []uint8, longest uint8) {
	n := len(weights)
	leaves := make([]int, n)
	for i := range leaves {
		leaves[i] = i
	}
	slices.SortStableFunc(leaves, func(a, b int) int { return weights[a] - weights[b] })
	sum := append(slices.Clone(weights), make([]int, n-1)...)
	parent := make([]int, 2*n-1)
	leaf, inner := 0, n
	take := func(next int) int {
		if leaf < n && (inner >= next || sum[leaves[leaf]] <= sum[inner]) {
			leaf++
			return leaves[leaf-1]
		}
		inner++
		return inner - 1
	}
	for next := n; next < 2*n-1; next++ {
		a := take(next)
		b := take(next)
		sum[next] = sum[a] + sum[b]
		parent[a], parent[b] = next, next
	}
	depth := make([]uint8, 2*n-1)
	lengths = make([]uint8, n)
	for i := 2*n - 3; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
		if i < n {
			lengths[i] = depth[i]
			longest = max(longest, depth[i])
		}
	}
	return lengths, longest
}

// assignCodes gives the canonical code: by length, then by symbol.
func assignCodes(lengths []uint8) []uint32 {
	codes := make([]uint32, len(lengths))
	code := uint32(0)
	for n := uint8(1); n <= bzMaxCode; n++ {
		for s, l := range lengths {
			if l == n {
				codes[s] = code
				code++
			}
		}
		code <<= 1
	}
	return codes
}

// writeChoices codes each choice by its place in a list of the most recent ones, in ones ended by a zero.
func writeChoices(w *bitWriter, choice []uint8, tables int) {
	recent := make([]uint8, tables)
	for i := range recent {
		recent[i] = uint8(i)
	}
	for _, c := range choice {
		i := slices.Index(recent, c)
		copy(recent[1:i+1], recent[:i])
		recent[0] = c
		w.bits(1<<(i+1)-2, uint(i+1))
	}
}

// writeLengths codes each length by steps from the one before: 10 is one longer, 11 one shorter, 0 stays.
func writeLengths(w *bitWriter, lengths []uint8) {
	at := lengths[0]
	w.bits(uint64(at), 5)
	for _, l := range lengths {
		for ; at < l; at++ {
			w.bits(2, 2)
		}
		for ; at > l; at-- {
			w.bits(3, 2)
		}
		w.bits(0, 1)
	}
}
