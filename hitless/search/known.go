package search

import "hash/maphash"

// known are the states that were met, in order, and where to find each: an open hash table of their numbers, which
// is half of what a map of states would take.
type known struct {
	states []state
	table  []int32 // number of a state, from 1 on, or 0
	seed   maphash.Seed
}

func newKnown() known { return known{table: make([]int32, 1<<10), seed: maphash.MakeSeed()} }

// place is where the number of a state is, or would be.
func (k *known) place(s *state) *int32 {
	mask := uint64(len(k.table) - 1)
	for i := maphash.Comparable(k.seed, *s) & mask; ; i = (i + 1) & mask {
		if n := k.table[i]; n == 0 || k.states[n-1] == *s {
			return &k.table[i]
		}
	}
}

// meet adds a state, and reports whether it is new.
func (k *known) meet(s *state) bool {
	p := k.place(s)
	if *p != 0 {
		return false
	}
	k.states = append(k.states, *s)
	*p = int32(len(k.states))
	if len(k.states) > len(k.table)/2 {
		k.table = make([]int32, 2*len(k.table))
		for i := range k.states {
			*k.place(&k.states[i]) = int32(i + 1)
		}
	}
	return true
}
