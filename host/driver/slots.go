package driver

// Slots hands out the entries of a table in aligned blocks, the lowest free one first.
type Slots struct {
	used []bool
	low  int // no free entry is below
}

// NewSlots returns the entries 0 to n-1.
func NewSlots(n int) Slots { return Slots{used: make([]bool, n)} }

// Len is the number of entries.
func (t *Slots) Len() int { return len(t.used) }

// Take returns the lowest free block of n entries, a power of two, aligned to n.
func (t *Slots) Take(n int) (first int, ok bool) {
	for ; t.low < len(t.used) && t.used[t.low]; t.low++ {
	}
	for first = t.low &^ (n - 1); first+n <= len(t.used); first += n {
		free := true
		for i := first; i < first+n && free; i++ {
			free = !t.used[i]
		}
		if free {
			t.Mark(first, n)
			return first, true
		}
	}
	return 0, false
}

// Mark takes a certain block, free or not.
func (t *Slots) Mark(first, n int) { t.set(first, n, true) }

// Put takes a block back.
func (t *Slots) Put(first, n int) {
	t.set(first, n, false)
	t.low = min(t.low, first)
}

func (t *Slots) set(first, n int, used bool) {
	for i := first; i < first+n; i++ {
		t.used[i] = used
	}
}
