package entry

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// CPU is what a rewrite needs of a processor. Every host.CPU has it.
type CPU interface {
	Load64(pa emu.PA) uint64
	Store64(pa emu.PA, v uint64)
	Store128(pa emu.PA, lo, hi uint64)
	CAS64(pa emu.PA, old, v uint64) bool
	CAS128(pa emu.PA, old, v [2]uint64) bool
	Fence()
	Flush(pa emu.PA, n int)
	Now() uint64
}

// Batching says how invalidations are given to hardware.
type Batching uint8

// The batchings.
const (
	OneWait  Batching = iota // all in one go, with one wait at the end
	WaitEach                 // each waited for before the next
)

// Invalidator is what an architecture does about the caches of one entry: that of one device, or of
// one PASID of it. It is given contents that the entry had, and reads from them what caches tag with.
type Invalidator interface {
	// SyncEntry drops cached copies of the entry with these contents, and what is cached by device of
	// the structures below it, and waits until readers in flight have ended or started again.
	SyncEntry(entries [][]uint64) error
	// SyncAll drops cached copies of the entry with the contents entries, then all that was derived
	// from the contents made - translations, device TLBs - and waits.
	SyncAll(entries, made [][]uint64, how Batching) error
	// Install does what a change from a blocking form to new needs.
	Install(new []uint64, how Batching) error
	// Cost counts since creation.
	Cost() Cost
}

// Cost counts invalidations.
type Cost struct {
	Invalidations int // invalidation requests given to hardware
	Waits         int // completions that software waited for
}

// Omit leaves out invalidations. It is fault injection: a driver with one invalidation removed, for
// labs that want to see its victim. An Invalidator honours it.
type Omit uint8

// What can be left out.
const (
	OmitContext   Omit = 1 << iota // of cached context (device) entries
	OmitPASID                      // of cached PASID entries
	OmitIOTLB                      // of translations
	OmitDeviceTLB                  // of device TLBs
	OmitWait                       // the wait: nobody knows when the rest is done
	OmitInterrupt                  // of interrupt entries
)

// Has reports whether all of o are left out.
func (s Omit) Has(o Omit) bool { return s&o == o }

// Target is an entry in memory and what belongs to it.
type Target struct {
	CPU    CPU
	Format *Format
	At     emu.PA
	Inv    Invalidator
	// Means, if set, is asked what a rewrite from old to new may use if there is no way without.
	Means func(old, new []uint64) Means
	// Noncoherent: hardware does not snoop the processor's caches; each store is written back.
	Noncoherent bool
	// Copies are further places that hold the same entry, for other names of the same device. Each
	// store goes to all of them. Of a page table they are the further entries of a row, see Paging.Entry.
	Copies []emu.PA
	// Swap makes stores of 16 bytes locked compare-and-swaps (CMPXCHG16B), which notice if somebody
	// else has changed the unit.
	Swap bool
}

// Report says what a rewrite did.
type Report struct {
	Writer  string
	Verdict Verdict
	Reason  string // why it was disruptive
	Cost
	Stores int // stores to the entry and its copies
	// States are the declared contents in order: old, the intermediate ones that the writer stands
	// for, new. What hardware reads otherwise is torn.
	States [][]uint64
	// Turn is the first of States that translates as the new content does. Those before it, but for
	// blocking ones, translate as the old one.
	Turn int
	// Temp is the temporary id that the rewrite went by, or 0. After an error caches may still hold it.
	Temp uint32
	// Marked are the flags that hardware has set in an entry of a page table while it was rewritten.
	Marked uint64
	// First is the time of the first store, Done that of the declared completion: from here on
	// nothing of the old entry is in any cache. In cycles of the processor.
	First, Done uint64
}

// Read returns the present content.
func (t *Target) Read() []uint64 {
	raw := make([]uint64, t.Format.Words)
	for i := range raw {
		raw[i] = t.CPU.Load64(t.At + emu.PA(i*8))
	}
	return raw
}

// run is a rewrite in progress.
type run struct {
	t    *Target
	old  []uint64
	cur  []uint64
	rep  Report
	cost Cost // before it began
}

// begin reads the entry and refuses what is not legal. A rewrite that changes nothing is done.
func (t *Target) begin(name string, new []uint64) (r *run, done bool, err error) {
	old := t.Read()
	r = &run{t: t, old: old, cur: slices.Clone(old), cost: t.Inv.Cost()}
	r.rep = Report{Writer: name, States: [][]uint64{old}}
	if err := t.Format.check(old, new); err != nil {
		return r, true, err
	}
	r.rep.First = t.CPU.Now()
	r.rep.Done = r.rep.First
	return r, t.Format.Same(old, new), nil
}

// end fills in what is known at completion.
func (r *run) end(err error) (Report, error) {
	c := r.t.Inv.Cost()
	r.rep.Invalidations = c.Invalidations - r.cost.Invalidations
	r.rep.Waits = c.Waits - r.cost.Waits
	r.rep.Done = r.t.CPU.Now()
	return r.rep, err
}

// store carries out one store and notes its result as declared.
func (r *run) store(s Step, declare bool) error {
	t := r.t
	if s.Fence {
		t.CPU.Fence()
	}
	if r.rep.Stores == 0 {
		r.rep.First = t.CPU.Now()
	}
	if err := r.storeAt(t.At, s, r.cur[s.Offset/8]); err != nil {
		return err
	}
	for i, at := range t.Copies {
		was := r.cur[s.Offset/8]
		c := s
		if p := t.Format.Paging; p != nil {
			was, c.Value[0] = p.Entry(was, i+1), p.Entry(s.Value[0], i+1)
		}
		if err := r.storeAt(at, c, was); err != nil {
			return err
		}
	}
	copy(r.cur[s.Offset/8:], s.Value[:s.Size/8])
	if declare {
		r.rep.States = append(r.rep.States, slices.Clone(r.cur))
	}
	return nil
}

// storeAt carries out one store to one of the places of the entry, whose first word was was.
func (r *run) storeAt(at emu.PA, s Step, was uint64) error {
	t := r.t
	pa := at + emu.PA(s.Offset)
	switch {
	case s.Size == 16 && t.Swap:
		if !t.CPU.CAS128(pa, [2]uint64(r.cur[s.Offset/8:]), s.Value) {
			return fmt.Errorf("entry: %s at %#x: %w", t.Format.Name, uint64(pa), ErrChanged)
		}
	case s.Size == 16:
		t.CPU.Store128(pa, s.Value[0], s.Value[1])
	case s.Swap:
		if err := r.swap(pa, was, s.Value[0]); err != nil {
			return err
		}
	default:
		t.CPU.Store64(pa, s.Value[0])
	}
	if t.Noncoherent {
		t.CPU.Flush(pa, s.Size)
	}
	r.rep.Stores++
	return nil
}

// install does what is due when an entry has become present, or blocks in another way than before: caches may
// hold what blocks, too.
func (r *run) install(new []uint64, how Batching) error {
	r.t.CPU.Fence() // the rewrite is complete when its last store is visible
	if f := r.t.Format; !f.Present(new) && f.Present(r.old) {
		return nil
	}
	return r.t.Inv.Install(new, how)
}
