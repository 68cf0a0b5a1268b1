package emutest

import (
	"math/bits"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// Stats are the counters of all caches of a unit.
func Stats(u emu.Unit) (s [emu.NumCaches]emu.CacheStats) {
	for id := range emu.NumCaches {
		if c := u.Cache(id); c != nil {
			s[id] = c.Stats()
		}
	}
	return s
}

// used is a result with something in every field.
var used = emu.Result{
	PA: 1, Data: 1, Status: emu.Blocked, Lg2: 1, Perm: 255, Snoop: true, Touched: 255,
	Fault: emu.Fault{Code: 1, Step: 1, Quiet: true, Dropped: true, Abort: true, Source: 1, PASID: 1, Addr: 1, At: 1},
	Prov:  emu.Provenance{Entry: 1, Fill: 1, Leaf: 1, Leaf2: 1},
}

// LookupAgrees requires that Lookup answers q as Step does, with the same use of the caches, or leaves no
// trace; then q is translated. It reports whether Lookup had an answer.
func (r *Rig) LookupAgrees(q *emu.Request) (hit bool) {
	before := Stats(r.Unit)
	fast := used // whatever a caller has left in it
	if !r.Unit.Lookup(q, &fast) {
		require.Equal(r.T, before, Stats(r.Unit), "a failed look-up leaves no trace")
		r.Do(*q)
		return false
	}
	mid := Stats(r.Unit)
	require.Equal(r.T, r.Begin(*q).End(), fast, "%+v", *q)
	after := Stats(r.Unit)
	for i := range after {
		require.Equal(r.T, mid[i].Lookups-before[i].Lookups, after[i].Lookups-mid[i].Lookups, "cache %d", i)
		require.Equal(r.T, mid[i].Hits-before[i].Hits, after[i].Hits-mid[i].Hits, "cache %d", i)
		require.Equal(r.T, mid[i].Fills, after[i].Fills, "cache %d", i)
	}
	return true
}

// Engines runs engines as an executor that reuses its memory, so that a test can count allocations.
type Engines struct {
	rig *Rig
	q   emu.Request
	txn emu.Txn
}

// Engines returns one.
func (r *Rig) Engines() *Engines { return &Engines{rig: r} }

// Write writes a register and runs the engines that this wakes to their ends.
func (e *Engines) Write(off uint32, size uint8, v uint64) {
	for w := e.rig.Unit.WriteReg(off, size, v); w != 0; {
		e.q.Type, e.q.Job, e.q.PASID = emu.Job, emu.Engine(bits.TrailingZeros8(uint8(w))), emu.NoPASID
		w &= w - 1
		e.rig.Unit.Start(&e.txn, &e.q)
		for e.txn.Act.Op = emu.OpNone; e.txn.Act.Op != emu.OpDone; {
			e.rig.step(&e.txn)
			w |= e.txn.Wake
			e.txn.Wake = 0
		}
	}
}
