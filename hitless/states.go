package hitless

import (
	"hash/maphash"

	"github.com/iommulab/iommulab/emu"
)

// walk is one branch: a transaction, where the host is, and what led here.
type walk struct {
	t       emu.Txn
	at      point
	after   bool
	who     int  // 0 is the request of the scenario, then the others
	marked  bool // it has marked an entry
	asked   int
	entries int32 // index of history
	path    *path
	hits    int

	from int32 // state that it branched off, or none
}

// worklist has the branches still to be followed, the simplest first: by lines, then by hits, then in the order in
// which they were added. Lines and hits never shrink along a branch, so that what comes off the list first is a
// simplest way to wherever it is.
type worklist struct {
	byLines [][]queue // and hits
	line    int       // none has fewer
	n       int
	seq     uint64 // branches so far
}

// queue is first in, first out.
type queue struct {
	list []*walk
	head int
}

func (l *worklist) Len() int { return l.n }

// add takes over a copy of w.
func (l *worklist) add(w walk) {
	l.seq++
	l.n++
	n := w.path.len()
	for len(l.byLines) <= n {
		l.byLines = append(l.byLines, nil)
	}
	for len(l.byLines[n]) <= w.hits {
		l.byLines[n] = append(l.byLines[n], queue{})
	}
	q := &l.byLines[n][w.hits]
	q.list = append(q.list, &w)
	l.line = min(l.line, n)
}

// next takes the simplest off a list that is not empty.
func (l *worklist) next() *walk {
	for ; ; l.line++ {
		for i := range l.byLines[l.line] {
			q := &l.byLines[l.line][i]
			if q.head == len(q.list) {
				continue
			}
			w := q.list[q.head]
			q.list[q.head] = nil
			if q.head++; q.head == len(q.list) {
				*q = queue{list: q.list[:0]}
			}
			l.n--
			return w
		}
	}
}

// history is what was assembled on the way: a chain, so that equal ones have one index. The Txn does
// not have it any more, but Seen.Entries tells it, so that it is part of a state.
type history struct {
	prev int32
	last Entry
}

// state is all that decides what can follow, and what will be told of it: two branches that agree in
// it differ only in their paths.
type state struct {
	t       emu.Txn
	at      point
	after   bool
	who     int
	marked  bool
	entries int32
}

// digest stands for a state: 128 bits of two seeded hashes, since a state has some 600 bytes. Of n
// states any two collide with a probability of about n*n/2^129, for the largest n below 10^-25.
type digest [2]uint64

// none is no state, or an empty history.
const none int32 = -1

// visited numbers the distinct states of a round and remembers which leads to which.
type visited struct {
	seed  [2]maphash.Seed
	index map[digest]int32
	edges [][2]int32
}

func newVisited() visited {
	return visited{seed: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, index: map[digest]int32{}}
}

// visit notes that w is where it is, coming from w.from, and reports whether that is new.
func (v *visited) visit(w *walk) bool {
	s := state{t: w.t, at: w.at, after: w.after, who: w.who, marked: w.marked, entries: w.entries}
	// Whether the log has room is up to other requests, and which engine it wakes.
	s.t.Res.Fault.Dropped, s.t.Wake = false, 0
	d := digest{maphash.Comparable(v.seed[0], s), maphash.Comparable(v.seed[1], s)}
	i, old := v.index[d]
	if !old {
		i = int32(len(v.index))
		v.index[d] = i
	}
	if w.from != none {
		v.edges = append(v.edges, [2]int32{w.from, i})
	}
	w.from = i
	return !old
}

// circular reports whether a state can come back to itself: a request there need never end. It takes
// away states that nothing leads to until there are none.
func (v *visited) circular() bool {
	into := make([]int32, len(v.index))
	first := make([]int32, len(v.index)+1)
	for _, e := range v.edges {
		into[e[1]]++
		first[e[0]+1]++
	}
	for i := 1; i < len(first); i++ {
		first[i] += first[i-1]
	}
	to, fill := make([]int32, len(v.edges)), append([]int32(nil), first...)
	for _, e := range v.edges {
		to[fill[e[0]]] = e[1]
		fill[e[0]]++
	}
	var free []int32
	for i, n := range into {
		if n == 0 {
			free = append(free, int32(i))
		}
	}
	gone := 0
	for ; len(free) > 0; gone++ {
		i := free[len(free)-1]
		free = free[:len(free)-1]
		for _, j := range to[first[i]:first[i+1]] {
			if into[j]--; into[j] == 0 {
				free = append(free, j)
			}
		}
	}
	return gone < len(v.index)
}
