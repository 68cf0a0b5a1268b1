package hitless

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	smmudriver "github.com/iommulab/iommulab/host/driver/smmuv3"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/iotlb"
)

// smmuMove is a move of a device to another domain as the driver does it on a weakly ordered processor, to
// be explored.
type smmuMove struct {
	Scenario
	d      *smmudriver.Driver
	at     emu.PA // of the entry that is rewritten
	report entry.Report

	formats entry.SMMUv3
	format  *entry.Format
}

// smmuEnd is a domain at one end of a move: it maps iova to pa, but for identity.
type smmuEnd func(t *testing.T, d *smmudriver.Driver, pa emu.PA) host.Domain

func smmuStage(s host.Stage) smmuEnd {
	return func(t *testing.T, d *smmudriver.Driver, pa emu.PA) host.Domain {
		dom, err := d.NewDomain(host.DomainSpec{Stage: s, Width: 40})
		require.NoError(t, err)
		require.NoError(t, dom.Map(iova, pa, 4096, emu.RW))
		return dom
	}
}

func smmuIdentity(t *testing.T, d *smmudriver.Driver, _ emu.PA) host.Domain {
	dom, err := d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NoError(t, err)
	return dom
}

var smmuS1, smmuS2 = smmuStage(host.StageFirst), smmuStage(host.StageSecond)

func smmuConfig(cached bool) smmuv3.Config {
	c := smmuv3.DefaultConfig()
	c.HTTU = 0 // flags are set beforehand
	if !cached {
		none := iotlb.Geometry{}
		c.STECache, c.CDCache, c.IOTLB, c.Stage2, c.Walk, c.Walk2 = none, none, none, none, nil, nil
	}
	return c
}

// smmuSpec says how a move goes.
type smmuSpec struct {
	from, to smmuEnd
	by       entry.Writer
	move     smmudriver.Move
	shared   bool // both domains have another device, so that no id is alone
	wide     bool // 16 bytes at a time
	reverse  bool // on a unit that reads the words of STE and CD from the last to the first
}

// smmuDescending reads the words of an STE or a CD in the reverse order: the architecture fixes none
// (3.21.1). What it has read so far is in the scratch of walks, none of which has begun.
type smmuDescending struct{ *smmuv3.Unit }

// word is where a word that was read is kept.
func (u smmuDescending) word(t *emu.Txn, i emu.PA) (lo *uint64, hi *emu.PA) {
	f := &t.Frame[i/4]
	switch i % 4 {
	case 0:
		return &f.In, nil
	case 1:
		return &f.Entry, nil
	case 2:
		return nil, &f.Table
	}
	return nil, &f.At
}

// part reports whether the transaction asks for a word of an STE or a CD.
func (u smmuDescending) part(t *emu.Txn) bool {
	a := &t.Act
	return a.Op == emu.OpFetch && a.Size == 8 && (a.Step == smmuv3.StepSTE || a.Step == smmuv3.StepCD)
}

func (u smmuDescending) Step(t *emu.Txn) {
	if !u.part(t) {
		u.Unit.Step(t)
		if u.part(t) && t.Frame == [2]emu.Frame{} {
			t.Act.Addr += 56
		}
		return
	}
	i := t.Act.Addr % 64 / 8
	if lo, hi := u.word(t, i); lo != nil {
		*lo = t.In[0]
	} else {
		*hi = emu.PA(t.In[0])
	}
	if i > 0 {
		t.Act.Addr -= 8
		return
	}
	var words [8]uint64
	for i := range words {
		if lo, hi := u.word(t, emu.PA(i)); lo != nil {
			words[i] = *lo
		} else {
			words[i] = uint64(*hi)
		}
	}
	t.Frame = [2]emu.Frame{}
	for _, w := range words {
		t.In, t.Ans = [4]uint64{w}, emu.AnsOK
		u.Unit.Step(t)
	}
}

func newSMMUMove(t *testing.T, c smmuv3.Config, s smmuSpec) *smmuMove {
	if s.wide {
		c.FetchSize = 16
	}
	u, err := smmuv3.New(c)
	require.NoError(t, err)
	m := mem.New()
	cpu := &recorder{Functional: emu.NewFunctional(u, m)}
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	require.NoError(t, err)
	d, err := smmudriver.New(cpu, frames, smmudriver.Options{Move: s.move, Wide: s.wide})
	require.NoError(t, err)
	base, n := d.Queue()
	cpu.aside = func(pa emu.PA) bool { return pa >= base && pa < base+emu.PA(n*spec.CommandSize) }
	require.NoError(t, d.Enable())
	old, new := s.from(t, d, 1<<20), s.to(t, d, 2<<20)
	if s.shared {
		require.NoError(t, d.Attach(sid+1, emu.NoPASID, old))
		require.NoError(t, d.Attach(sid+2, emu.NoPASID, new))
	}
	require.NoError(t, d.Attach(sid, emu.NoPASID, old))
	x := &smmuMove{d: d}
	x.Program = cpu.record(func() {
		x.report, err = d.Replace(sid, emu.NoPASID, new, s.by)
		require.NoError(t, err)
	})
	x.at, _ = d.EntryAt(sid, emu.NoPASID)
	x.formats = smmuFormats(u, s.wide)
	x.format = x.formats.CD(nil)
	if ste, _ := d.STEAt(sid); x.at == ste {
		x.format = x.formats.STE()
	}
	for c := range emu.NumCaches {
		if cache := u.Cache(c); cache != nil {
			cache.Reset()
		}
	}
	// A request that faults writes no event: what requests write is not explored.
	cpu.WriteReg(0, spec.OffCR0, 4, u.ReadReg(spec.OffCR0, 4)&^spec.Cr0EVENTQEN.Mask())
	x.Scenario.Unit, x.Memory, x.Weak = u, m, true
	if s.reverse {
		x.Scenario.Unit = smmuDescending{u}
	}
	x.Request = emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read}
	return x
}

// smmuFormats are the formats of a unit.
func smmuFormats(u *smmuv3.Unit, wide bool) entry.SMMUv3 {
	id := func(off uint32) uint32 { return uint32(u.ReadReg(off, 4)) }
	return entry.SMMUv3{IDR0: id(spec.OffIDR0), IDR1: id(spec.OffIDR1), IDR3: id(spec.OffIDR3), IDR5: id(spec.OffIDR5), Wide: wide}
}

// torn returns the ways on which the entry was read, in what counts, as none of the declared contents.
func (x *smmuMove) torn(rep *Report) []Seen {
	return rep.pick(func(s *Seen) bool {
		return slices.ContainsFunc(s.Entries, func(e Entry) bool {
			return e.At == x.at && !slices.ContainsFunc(x.report.States, func(d []uint64) bool { return x.format.Same(d, e.Words[:]) })
		})
	})
}

// left is what caches hold of the old content at the end.
func (x *smmuMove) left(t *testing.T) []copyOf {
	list, err := leftovers(&x.Scenario, func(c emu.CacheID, a, b [4]uint64) bool {
		f := x.formats.STE()
		if c == emu.CachePASID {
			f = x.formats.CD(nil)
			a[3], b[3] = 0, 0 // flags
		} else if c != emu.CacheEntry {
			return false
		}
		return f.Same(append(a[:], 0, 0, 0, 0), append(b[:], 0, 0, 0, 0))
	})
	require.NoError(t, err)
	return list
}

// wrong returns the ways that a hitless rewrite does not have: faults, and pages of neither domain.
func (x *smmuMove) wrong(rep *Report) []Seen {
	ends := append(slices.Clip(rep.Old), rep.New...)
	return rep.pick(func(s *Seen) bool {
		return !slices.ContainsFunc(ends, func(o Seen) bool {
			return s.Status == o.Status && s.PA == o.PA && s.Prov.Leaf == o.Prov.Leaf
		})
	})
}

var smmuMoves = []struct {
	name string
	smmuSpec
	waits int
}{
	{"stage 1, fresh table", smmuSpec{from: smmuS1, to: smmuS1}, 1},
	{"stage 1, fresh table, shared", smmuSpec{from: smmuS1, to: smmuS1, shared: true}, 1},
	{"stage 1, temporary ASID", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true}, 3},
	{"stage 1, ASIDs alone", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID}, 2},
	{"stage 1, 16 bytes", smmuSpec{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true, wide: true}, 1},
	{"stage 2, temporary VMID", smmuSpec{from: smmuS2, to: smmuS2, shared: true}, 3},
	{"stage 2, VMIDs alone", smmuSpec{from: smmuS2, to: smmuS2}, 2},
	{"stage 2, 16 bytes", smmuSpec{from: smmuS2, to: smmuS2, shared: true, wide: true}, 1},
	{"stage 1 to 2", smmuSpec{from: smmuS1, to: smmuS2}, 2},
	{"stage 2 to 1", smmuSpec{from: smmuS2, to: smmuS1}, 3},
	{"stage 1 to 2, shared", smmuSpec{from: smmuS1, to: smmuS2, shared: true}, 3},
	{"bypass to stage 1", smmuSpec{from: smmuIdentity, to: smmuS1}, 2},
	{"bypass to stage 2", smmuSpec{from: smmuIdentity, to: smmuS2}, 2},
	{"stage 1 to bypass", smmuSpec{from: smmuS1, to: smmuIdentity}, 1},
	{"stage 2 to bypass", smmuSpec{from: smmuS2, to: smmuIdentity}, 1},
}

// In every order of the stores, with every copy that a cache may hold: a request sees the old translation or
// the new one, an entry that was declared, and after the rewrite only the new.
func TestSMMUPlanned_IsHitless(t *testing.T) {
	for _, m := range smmuMoves {
		for _, cached := range []bool{true, false} {
			t.Run(m.name, func(t *testing.T) {
				m.by = entry.Hitless
				x := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				require.Equal(t, entry.VerdictHitless, x.report.Verdict, x.report.Reason)
				require.Equal(t, m.waits, x.report.Waits)
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Len(t, rep.New, 1)
				require.NotEqual(t, rep.Old[0].PA, rep.New[0].PA)
				require.Empty(t, x.torn(rep))
				require.Empty(t, x.left(t))
				require.Empty(t, rep.Stale())
				for _, s := range x.wrong(rep) {
					t.Errorf("status %d, pa %#x\n%s", s.Status, uint64(s.PA), Timeline(&x.Scenario, &s))
				}
			})
		}
	}
}

// Each invalidation that is left out has a victim: a request that sees what it should not, or whoever finds
// what is left in a cache. So has each wait: without it, a unit that reads the words in the one order or
// in the other reads an entry that was never declared.
func TestSMMUPlanned_EachInvalidationIsNeeded(t *testing.T) {
	for _, m := range smmuMoves {
		m.by = entry.Hitless
		victims := map[int]int{}
		var lefts []*emu.Selector
		for _, reverse := range []bool{false, true} {
			for _, cached := range []bool{true, false} {
				m.reverse = reverse
				whole := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				whole.Weak = false // of a fresh CD table there are many orders
				for n := 0; ; n++ {
					x := *whole
					var left *emu.Selector
					if x.Program, left = without(whole.Program, n); left == nil {
						break
					}
					if n == len(lefts) {
						lefts = append(lefts, left)
					}
					rep, err := Explore(&x.Scenario)
					require.NoError(t, err)
					victims[n] += len(x.torn(rep)) + len(x.wrong(rep)) + len(rep.Stale()) + len(x.left(t))
				}
			}
		}
		for n, left := range lefts {
			require.NotZero(t, victims[n], "%s: number %d, %+v", m.name, n, *left)
		}
	}
}

// Who makes the entry invalid first lets requests fault, and does nothing else to them. Where one word
// decides, Linux does not fault either.
func TestSMMUBlockedFirst_OnlyFaults(t *testing.T) {
	for _, by := range []entry.Writer{entry.Linux, entry.BreakMake} {
		for _, m := range smmuMoves {
			for _, cached := range []bool{true, false} {
				m.by = by
				x := newSMMUMove(t, smmuConfig(cached), m.smmuSpec)
				x.Weak = len(x.Program) < 12 // a fresh CD table has many orders
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				require.Empty(t, rep.Stale())
				require.Empty(t, x.torn(rep))
				require.Empty(t, x.left(t))
				out := x.wrong(rep)
				require.Equal(t, x.report.Verdict == entry.VerdictDisruptive, len(out) > 0, "%s, %s", by.Name(), m.name)
				require.True(t, by != entry.BreakMake || len(out) > 0)
				for _, s := range out {
					require.Equal(t, emu.Blocked, s.Status, Timeline(&x.Scenario, &s))
					require.Contains(t, []uint16{smmuv3.FaultSTEInvalid, smmuv3.FaultCDInvalid}, s.Code)
				}
			}
		}
	}
}

// What Linux makes hitless, and what not: between two stage 1 domains it rewrites the CD, between two of
// stage 2 the STE, with V=0 in between.
func TestSMMULinux_Verdicts(t *testing.T) {
	want := map[string]entry.Verdict{
		"stage 1, fresh table": entry.VerdictHitless, "stage 1, fresh table, shared": entry.VerdictHitless,
		"bypass to stage 1": entry.VerdictHitless, "bypass to stage 2": entry.VerdictHitless,
		"stage 1 to bypass": entry.VerdictHitless, "stage 2 to bypass": entry.VerdictHitless,
		"stage 1, 16 bytes": entry.VerdictHitless, "stage 2, 16 bytes": entry.VerdictHitless,
	}
	for _, m := range smmuMoves {
		m.by = entry.Linux
		x := newSMMUMove(t, smmuConfig(true), m.smmuSpec)
		v, ok := want[m.name]
		if !ok {
			v = entry.VerdictDisruptive
		}
		require.Equal(t, v, x.report.Verdict, m.name)
	}
}

// Plain stores, and one invalidation of what was there before, are torn: the new table under the old id, or
// the reverse, and what comes of it outlives the rewrite.
func TestSMMUNaive_IsTorn(t *testing.T) {
	for _, m := range []smmuSpec{
		{from: smmuS1, to: smmuS1, move: smmudriver.MoveASID, shared: true}, {from: smmuS2, to: smmuS2, shared: true},
		{from: smmuS1, to: smmuS2, shared: true}, {from: smmuS2, to: smmuS1, shared: true},
	} {
		for _, cached := range []bool{true, false} {
			torn := 0
			for _, reverse := range []bool{false, true} {
				m.by, m.reverse = entry.Naive, reverse
				x := newSMMUMove(t, smmuConfig(cached), m)
				x.Weak = false // all eight words are stored
				require.Equal(t, entry.VerdictDisruptive, x.report.Verdict)
				rep, err := Explore(&x.Scenario)
				require.NoError(t, err)
				torn += len(x.torn(rep))
			}
			require.NotZero(t, torn)
		}
	}
}

// The CD has to be there when the STE leads to it: on a weakly ordered processor that takes the fence.
func TestSMMUFreshTable_NeedsTheFence(t *testing.T) {
	x := newSMMUMove(t, smmuConfig(true), smmuSpec{from: smmuS1, to: smmuS1, by: entry.Hitless})
	fences := 0
	for i := range x.Program {
		if x.Program[i].Fence && x.Program[i].Addr == x.at {
			x.Program[i].Fence = false
			fences++
		}
	}
	require.Equal(t, 1, fences)
	for _, weak := range []bool{false, true} {
		x.Weak = weak
		rep, err := Explore(&x.Scenario)
		require.NoError(t, err)
		require.Equal(t, weak, len(x.wrong(rep)) > 0)
		require.Empty(t, rep.Stale())
	}
}
