package pasid

import "math/bits"

// lists chains the places of the array by the source of their entries: one list per bucket of
// sources. A dropped entry stays in its list until its place is filled again.
type lists struct {
	head  []int32 // first place of a bucket, -1 if none
	at    []place
	shift uint8
}

type place struct {
	source     uint64
	prev, next int32 // -1 at the ends
	listed     bool
}

func (l *lists) init(n int) {
	lg := max(4, bits.Len(uint(n-1)))
	l.head = make([]int32, 1<<lg)
	l.at = make([]place, n)
	l.shift = uint8(64 - lg)
	l.reset()
}

func (l *lists) reset() {
	for i := range l.head {
		l.head[i] = -1
	}
	clear(l.at)
}

func (l *lists) bucket(source uint64) *int32 {
	return &l.head[source*0x9e37_79b9_7f4a_7c15>>l.shift]
}

// first returns the first place of the bucket of a source, or -1. Others may share the bucket.
func (l *lists) first(source uint64) int32 { return *l.bucket(source) }

// move puts place h into the list of a source, out of the one it is in.
func (l *lists) move(h int32, source uint64) {
	p := &l.at[h]
	if p.listed {
		if p.source == source {
			return
		}
		if p.prev >= 0 {
			l.at[p.prev].next = p.next
		} else {
			*l.bucket(p.source) = p.next
		}
		if p.next >= 0 {
			l.at[p.next].prev = p.prev
		}
	}
	head := l.bucket(source)
	*p = place{source: source, prev: -1, next: *head, listed: true}
	if *head >= 0 {
		l.at[*head].prev = h
	}
	*head = h
}
