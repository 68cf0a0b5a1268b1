package device

// ring is a first-in first-out list of lanes, each at most once.
type ring struct {
	at   []uint32
	head int
	n    int
}

func newRing(n int) ring { return ring{at: make([]uint32, n)} }

func (r *ring) push(i uint32) {
	r.at[(r.head+r.n)%len(r.at)] = i
	r.n++
}

func (r *ring) first() uint32 { return r.at[r.head] }

func (r *ring) pop() uint32 {
	i := r.at[r.head]
	r.head = (r.head + 1) % len(r.at)
	r.n--
	return i
}

// get returns the k-th.
func (r *ring) get(k int) uint32 { return r.at[(r.head+k)%len(r.at)] }
