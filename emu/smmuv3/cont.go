package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// STE.CONT, 5.2: software says that the STEs of a span are alike, and a cached one may serve the other streams
// of its span. It is found behind the stream's own. Where more than one is found they must be alike, or the
// look-up is a conflict (3.20.2). An STE is dropped by invalidations of its own StreamID only: software has to
// name every stream of a span.

// maxSpans is how many STEs of spans are kept track of. The oldest is forgotten first: its neighbours then need
// their own.
const maxSpans = 32

// span is an STE that has been read with CONT: its stream and the largest CONT.
type span struct {
	SID uint32
	N   uint8
}

// covers reports whether a stream is one of the 2^n around sid.
func covers(sid, s emu.SourceID, n uint8) bool { return (sid^s)>>n == 0 }

// contOf returns CONT of an STE as far as it counts: that of an invalid one does not, nor does a part beyond
// the level 2 table that the STE is in.
func (u *Unit) contOf(w0, w1 uint64) uint8 {
	if !u.cfg.CONT || !spec.SteV.On(w0) || steIllegal.On(w1) {
		return 0
	}
	n := uint8(spec.SteCONT.Of(w1))
	if u.streams.split != 0 {
		n = min(n, u.streams.split)
	}
	return n
}

// noteSpan keeps track of the STE in t.Entry, which was just read.
func (u *Unit) noteSpan(t *emu.Txn) {
	n := u.contOf(t.Entry[0], t.Entry[1])
	if n == 0 {
		return
	}
	u.s.MaxCONT = max(u.s.MaxCONT, n)
	for i := range u.spans() {
		if p := &u.s.Spans[i]; p.SID == uint32(t.Req.Source) {
			p.N = max(p.N, n)
			return
		}
	}
	u.s.Spans[u.s.SpansSeen%maxSpans] = span{uint32(t.Req.Source), n}
	u.s.SpansSeen++
}

// spans returns how many elements of Spans are in use.
func (u *Unit) spans() int { return int(min(u.s.SpansSeen, maxSpans)) }

// Aux[1] while neighbours are looked for: where in Spans to go on, and whether an STE was found.
const (
	auxSpan  reg.Bits = 7_000
	auxFound reg.Bits = 8_008
)

// neighbours looks for STEs of neighbours that cover the stream. found says that t.Entry has its own.
func (u *Unit) neighbours(t *emu.Txn, found bool) {
	t.Aux[1] = auxFound.PutBool(found)
	u.nextNeighbour(t)
}

// nextNeighbour looks up the next one that may cover the stream. After the last it goes on with the STE found,
// or reads the stream's own.
func (u *Unit) nextNeighbour(t *emu.Txn) {
	found := auxFound.On(t.Aux[1])
	for i := auxSpan.Of(t.Aux[1]); i < uint64(u.spans()); i++ {
		p := &u.s.Spans[i]
		if sid := emu.SourceID(p.SID); sid != t.Req.Source && covers(sid, t.Req.Source, p.N) {
			t.Aux[1] = auxSpan.Put(i+1) | auxFound.PutBool(found)
			t.Probe(emu.CacheEntry, steKey(sid), StepSTECache, stNeighbour)
			return
		}
	}
	t.Aux[1] = 0
	if found {
		u.steReady(t)
		return
	}
	t.Acquire(emu.SlotEntry, steKey(t.Req.Source), StepSTEMiss, stSTESlot)
}

// neighbourProbed uses the STE of a neighbour if it is cached and covers the stream, or compares it with the one
// found before.
func (u *Unit) neighbourProbed(t *emu.Txn) {
	sid, v := emu.SourceID(t.Act.Key.Addr), &t.In
	if t.Ans == emu.AnsOK && covers(sid, t.Req.Source, u.contOf(v[0], v[1])) {
		if auxFound.On(t.Aux[1]) && !sameSTE(t.Entry[:4], v[:]) {
			t.Aux[1] = uint64(sid)
			u.fault(t, FaultCFGConflict, StepSTECache, 0)
			return
		}
		if !auxFound.On(t.Aux[1]) {
			copy(t.Entry[:4], v[:])
			t.Aux[1] |= auxFound.Mask()
			t.Classes |= 1 << ClassNeighbour
		}
	}
	u.nextNeighbour(t)
}

// sameSTE reports whether two cached STEs are identical but for CONT and what is software's own.
func sameSTE(a, b []uint64) bool {
	const free = 0xf<<13 | 0xf<<20 // CONT, SW_RESERVED
	return a[0] == b[0] && (a[1]^b[1])&^free == 0 && a[2] == b[2] && a[3] == b[3]
}

// covered reports whether STEs of neighbours may cover a stream.
func (u *Unit) covered(s emu.SourceID) bool {
	for i := range u.spans() {
		if p := &u.s.Spans[i]; emu.SourceID(p.SID) != s && covers(emu.SourceID(p.SID), s, p.N) {
			return true
		}
	}
	return false
}

// selNeighbours selects the transactions in flight that may have used the STE of a neighbour among a block of
// streams. No cached structure is of that class.
func (u *Unit) selNeighbours(s *emu.Selector, first, mask emu.SourceID) bool {
	selStructs(s, 1<<ClassNeighbour, first, mask|emu.SourceID(ones(u.s.MaxCONT)))
	return u.s.MaxCONT != 0
}
