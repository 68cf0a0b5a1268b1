package clock

// heap orders the events beyond the wheel by (time, prio, seq): four children per node, values in
// place.
type heap struct {
	items []far
	seq   uint64 // events pushed so far
}

type far struct {
	time uint64
	key  uint64 // prio in the top byte, seq below: 2^56 events are out of reach
	node uint32
}

func (a *far) before(b *far) bool {
	return a.time < b.time || a.time == b.time && a.key < b.key
}

func (h *heap) push(time uint64, prio uint8, node uint32) {
	h.seq++
	x := far{time, uint64(prio)<<56 | h.seq, node}
	h.items = append(h.items, x)
	i := len(h.items) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !x.before(&h.items[up]) {
			break
		}
		h.items[i] = h.items[up]
		i = up
	}
	h.items[i] = x
}

// pop removes the first item and returns its node. The heap is not empty.
func (h *heap) pop() uint32 {
	s := h.items
	top := s[0].node
	n := len(s) - 1
	x := s[n]
	s = s[:n]
	h.items = s
	for i := 0; n > 0; {
		first := 4*i + 1
		if first >= n {
			s[i] = x
			break
		}
		least := first
		for c := first + 1; c < min(first+4, n); c++ {
			if s[c].before(&s[least]) {
				least = c
			}
		}
		if !s[least].before(&x) {
			s[i] = x
			break
		}
		s[i] = s[least]
		i = least
	}
	return top
}
