package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// kexec starts another kernel's driver on the machine while translation is on. It has other memory.
func (r *rig) kexec(o Options) *rig {
	r.t.Helper()
	next := *r
	next.Rig = r.Next()
	next.frames = next.Frames
	o.HAW, o.TakeOver = r.unit.Config().HAW, true
	var err error
	next.d, err = New(r.cpu, next.frames, o)
	require.NoError(r.t, err)
	next.Use(next.d)
	for _, w := range r.cpu.Writes {
		if w.Off == spec.OffGCMD {
			require.NotZero(r.t, w.V&spec.GcmdTE.Mask(), "TE stays on")
		}
	}
	return &next
}

var takeOvers = []struct {
	name  string
	unit  func(*hw.Config)
	stage host.Stage
}{
	{"legacy", legacy, host.StageSecond},
	{"second stage", nested, host.StageSecond},
	{"first stage", nested, host.StageFirst},
	{"first stage, non-coherent", func(c *hw.Config) { nested(c); c.C, c.SMPWCS = false, false }, host.StageFirst},
	{"ESRTPS", func(c *hw.Config) { nested(c); c.ESRTPS = true }, host.StageSecond},
}

func TestTakeOver_DevicesStayAtWork(t *testing.T) {
	for _, c := range takeOvers {
		t.Run(c.name, func(t *testing.T) {
			a := start(t, c.unit)
			kept, moved, lost := a.In(c.stage, 0x10000, target), a.In(c.stage, 0x10000, target+0x1000), a.In(c.stage, 0x10000, target+0x2000)
			require.NoError(t, a.d.Attach(0x100, emu.NoPASID, kept))
			require.NoError(t, a.d.Attach(0x280, emu.NoPASID, moved))
			require.NoError(t, a.d.Attach(0x300, emu.NoPASID, lost))
			require.NoError(t, a.d.Attach(0x308, emu.NoPASID, a.Domain(host.DomainSpec{Kind: host.DomainIdentity})))

			b := a.kexec(Options{})
			require.Equal(t, a.d.Scalable(), b.d.Scalable())
			require.NotEqual(t, a.d.Root(), b.d.Root())
			check := func(sid emu.SourceID, pa emu.PA) { t.Helper(); b.Reaches(sid, emu.NoPASID, 0x10000, pa) }
			check(0x100, target)
			check(0x280, target+0x1000)
			check(0x300, target+0x2000)
			check(0x308, 0x10000)
			b.Blocked(0x310, emu.NoPASID, 0x10000)
			require.Equal(t, []emu.SourceID{0x100, 0x280, 0x300, 0x308}, b.d.Inherited())

			// The same tables under the same id: nothing to do.
			same := b.CopyOf(kept)
			rep, err := b.d.Replace(0x100, emu.NoPASID, same, entry.Hitless)
			require.ErrorIs(t, err, host.ErrNotAttached, "not known yet")
			require.NoError(t, b.d.Probe(0x100, host.DeviceSpec{}))
			stores := b.d.Stats().Stores
			rep, err = b.d.Replace(0x100, emu.NoPASID, same, entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictNop, rep.Verdict)
			require.Equal(t, stores, b.d.Stats().Stores)
			check(0x100, target)

			// Other tables: replaced like any.
			fresh := b.In(c.stage, 0x10000, target+0x3000)
			require.NotContains(t, []uint32{kept.ID(), moved.ID(), lost.ID()}, fresh.ID())
			require.NoError(t, b.d.Probe(0x280, host.DeviceSpec{}))
			rep, err = b.d.Replace(0x280, emu.NoPASID, fresh, entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
			check(0x280, target+0x3000)

			require.Equal(t, []emu.SourceID{0x300, 0x308}, b.d.Inherited())
			require.NoError(t, b.d.Finish())
			require.NoError(t, b.d.Finish(), "nothing is left to do")
			require.Empty(t, b.d.Inherited())
			check(0x100, target)
			check(0x280, target+0x3000)
			b.Blocked(0x300, emu.NoPASID, 0x10000)
			b.Blocked(0x308, emu.NoPASID, 0x10000)
			ids := map[uint32]bool{}
			for range 4 {
				ids[b.Domain(host.DomainSpec{}).ID()] = true
			}
			require.True(t, ids[lost.ID()] && ids[moved.ID()], "free again")
			require.False(t, ids[kept.ID()])

			require.NoError(t, b.d.Attach(0x300, emu.NoPASID, fresh))
			check(0x300, target+0x3000)
			require.NoError(t, same.Map(0x11000, target+0x5000, 0x1000, emu.RW))
			b.Reaches(0x100, emu.NoPASID, 0x11000, target+0x5000)
			if (arch{b.d}).CanTrack(same.(*driver.Domain)) {
				require.NoError(t, same.SetDirty(true))
			}
			// A large page takes the place of a table that is the earlier system's: it stays its.
			_, err = same.Unmap(0x10000, 0x2000)
			require.NoError(t, err)
			require.NoError(t, same.Map(0, target, 0x20_0000, emu.RW))
			b.Reaches(0x100, emu.NoPASID, 0x10000, target+0x10000)
			for _, sid := range []emu.SourceID{0x100, 0x280, 0x300} {
				require.NoError(t, b.d.Detach(sid, emu.NoPASID))
				b.Blocked(sid, emu.NoPASID, 0x10000)
				require.NoError(t, b.d.Release(sid))
			}
			require.NoError(t, same.Free())
			require.NoError(t, fresh.Free())
		})
	}
}

func TestTakeOver_PASIDs(t *testing.T) {
	a := start(t, nested)
	require.NoError(t, a.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 10}))
	doms := map[emu.PASID]host.Domain{}
	for i, pasid := range []emu.PASID{emu.NoPASID, 5, 6, 900} {
		doms[pasid] = a.In(stages[[2]string{"first", "second"}[i%2]], 0x10000, target+emu.PA(i)<<12)
		require.NoError(t, a.d.Attach(dev, pasid, doms[pasid]))
	}
	b := a.kexec(Options{})
	require.ErrorIs(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 14}), ErrTakeOver)
	require.NoError(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 10}))
	require.NoError(t, b.d.Attach(dev, emu.NoPASID, b.CopyOf(doms[emu.NoPASID])))
	require.NoError(t, b.d.Attach(dev, 5, b.In(host.StageFirst, 0x10000, target+0x8000)))
	require.NoError(t, b.d.Attach(dev, 901, b.In(host.StageFirst, 0x10000, target+0x9000)))
	require.NoError(t, b.d.Attach(dev, 700, b.In(host.StageFirst, 0x10000, target+0xa000)))
	want := map[emu.PASID]emu.PA{emu.NoPASID: target, 5: target + 0x8000, 6: target + 0x2000, 900: target + 0x3000, 901: target + 0x9000, 700: target + 0xa000}
	for pasid, pa := range want {
		b.Reaches(dev, pasid, 0x10000, pa)
	}
	require.NoError(t, b.d.Detach(dev, 6))
	b.Blocked(dev, 6, 0x10000)
	require.NoError(t, b.d.Finish())
	for pasid, pa := range want {
		if pasid == 6 || pasid == 900 {
			b.Blocked(dev, pasid, 0x10000)
			continue
		}
		b.Reaches(dev, pasid, 0x10000, pa)
	}
	lent := b.d.Lent()
	require.Len(t, lent, 3, "the directory and two tables")
	for _, x := range lent {
		require.Equal(t, a.d.k.Owner, a.frames.Owner(x.PA))
	}
	for pasid := range want {
		if pasid != 6 && pasid != 900 {
			require.NoError(t, b.d.Detach(dev, pasid))
		}
	}
	require.NoError(t, b.d.Release(dev))
	require.Empty(t, b.d.Lent())
	require.Equal(t, uint16(0x41), b.Blocked(dev, emu.NoPASID, 0x10000).Fault.Code)
}

// Entries that share an id share tables, so an id in use is only for the tables it is used with.
func TestTakeOver_IDsAreForTheirTables(t *testing.T) {
	for _, c := range takeOvers {
		a := start(t, c.unit)
		x, y := a.In(c.stage, 0x10000, target), a.In(c.stage, 0x10000, target+0x1000)
		require.NoError(t, a.d.Attach(0x100, emu.NoPASID, x))
		require.NoError(t, a.d.Attach(0x108, emu.NoPASID, x))
		require.NoError(t, a.d.Attach(0x200, emu.NoPASID, y))
		b := a.kexec(Options{})
		rx, lx := x.Tables().Root()
		for _, s := range []host.DomainSpec{
			{ID: y.ID(), Root: rx, Levels: lx, Stage: c.stage},
			{ID: x.ID(), Stage: c.stage},
		} {
			_, err := b.d.NewDomain(s)
			require.ErrorIs(t, err, host.ErrBusy, c.name)
		}
		same := b.CopyOf(x)
		_, err := b.d.NewDomain(host.DomainSpec{ID: x.ID(), Root: rx, Levels: lx, Stage: c.stage})
		require.ErrorIs(t, err, host.ErrBusy, "claimed")
		require.ErrorIs(t, same.Free(), host.ErrBusy, "devices use the tables")
		require.NoError(t, b.d.Attach(0x100, emu.NoPASID, same))
		// The other device of x is not alone: no translation of it may change meanwhile.
		require.NoError(t, b.d.Attach(0x108, emu.NoPASID, b.In(c.stage, 0x10000, target+0x2000)))
		b.Reaches(0x100, emu.NoPASID, 0x10000, target)
		b.Reaches(0x108, emu.NoPASID, 0x10000, target+0x2000)
		require.NoError(t, b.d.Finish())
		b.Reaches(0x100, emu.NoPASID, 0x10000, target)
		b.Blocked(0x200, emu.NoPASID, 0x10000)
	}
}

// A device that nobody describes stays as it was described to the earlier system.
func TestTakeOver_AttachKeepsWhatTheDeviceMaySend(t *testing.T) {
	a := start(t, nested, withATS)
	require.NoError(t, a.d.Probe(dev, host.DeviceSpec{PASIDs: 64, ATS: true}))
	require.NoError(t, a.d.Attach(dev, emu.NoPASID, a.Mapped(0x10000, target)))
	require.NoError(t, a.d.Attach(dev, 5, a.Mapped(0x10000, target+0x1000)))
	_, old := a.d.ContextAt(dev)
	b := a.kexec(Options{})
	require.NoError(t, b.d.Attach(dev, emu.NoPASID, b.Mapped(0x10000, target+0x2000)))
	_, raw := b.d.ContextAt(dev)
	require.Equal(t, old, raw)
	b.Reaches(dev, emu.NoPASID, 0x10000, target+0x2000)
	b.Reaches(dev, 5, 0x10000, target+0x1000)
	got := b.during(func() { require.NoError(t, b.d.Detach(dev, 5)) })
	require.Equal(t, "pdevtlb sid 108 pasid 5 0x7ffffffffffff800", got[len(got)-2])
}

// A first stage whose id others use, in tables that nobody here knows, moves by a temporary id or by
// its new one.
func TestTakeOver_NobodysIDIsNotGoneBy(t *testing.T) {
	a := start(t, nested)
	x := a.In(host.StageFirst, 0x10000, target)
	require.NoError(t, a.d.Attach(0x100, emu.NoPASID, x))
	require.NoError(t, a.d.Attach(0x108, emu.NoPASID, x))
	b := a.kexec(Options{})
	require.NoError(t, b.d.Probe(0x100, host.DeviceSpec{}))
	fresh := b.In(host.StageFirst, 0x10000, target+0x1000)
	rep, err := b.d.Replace(0x100, emu.NoPASID, fresh, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictHitless, rep.Verdict)
	for _, s := range rep.States[1:] {
		require.Equal(t, fresh.ID(), pasidDID(s))
	}
	b.Reaches(0x108, emu.NoPASID, 0x10000, target)
}

func TestTakeOver_Nested(t *testing.T) {
	a := start(t, nested)
	g := a.Guest(drivertest.GuestBase, host.DomainSpec{Width: 48})
	d := g.Mapped(0x10000, 0x5000)
	require.NoError(t, a.d.Attach(dev, emu.NoPASID, d))
	b := a.kexec(Options{})
	root, levels := g.Parent.Tables().Root()
	parent := b.Domain(host.DomainSpec{Stage: host.StageSecond, Root: root, Levels: levels})
	first, n := d.Tables().Root()
	again := b.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: parent, Root: first, Levels: n, ID: d.ID()})
	require.NoError(t, b.d.Probe(dev, host.DeviceSpec{}))
	rep, err := b.d.Replace(dev, emu.NoPASID, again, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictNop, rep.Verdict)
	other := b.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: parent, Root: first, Levels: n})
	rep, err = b.d.Replace(dev, emu.NoPASID, other, entry.Hitless)
	require.NoError(t, err)
	require.Equal(t, entry.VerdictHitless, rep.Verdict)
}

func TestVTDQuirk57_TableModeMustMatch(t *testing.T) {
	for _, c := range []struct{ old, new Mode }{{ModeLegacy, ModeScalable}, {ModeScalable, ModeLegacy}} {
		a := machine(t).up(Options{Mode: c.old})
		require.NoError(t, a.d.Attach(dev, emu.NoPASID, a.Mapped(0x10000, target)))
		_, err := New(a.cpu, a.frames, Options{Mode: c.new, TakeOver: true})
		require.ErrorIs(t, err, ErrTakeOver)
		a.Reaches(dev, emu.NoPASID, 0x10000, target)
		b := a.kexec(Options{})
		require.Equal(t, c.old == ModeScalable, b.d.Scalable(), "what it runs in")
		b.Reaches(dev, emu.NoPASID, 0x10000, target)
	}
	// Without translation there is nothing to take over.
	r := machine(t).up(Options{TakeOver: true})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	require.NoError(t, r.d.Finish())
	require.Empty(t, r.d.Inherited())
}

// Devices that share a PASID directory cannot be told apart by changes of it.
func TestTakeOver_SharedDirectory(t *testing.T) {
	a := start(t, nested)
	require.NoError(t, a.d.Attach(0x100, emu.NoPASID, a.Mapped(0x10000, target)))
	require.NoError(t, a.d.Attach(0x108, emu.NoPASID, a.Mapped(0x10000, target)))
	from, raw := a.d.ContextAt(0x100)
	to, _ := a.d.ContextAt(0x108)
	require.NotEqual(t, from, to)
	a.cpu.Store128(to, raw[0], raw[1])
	b := a.kexec(Options{})
	require.ErrorIs(t, b.d.Probe(0x100, host.DeviceSpec{}), ErrTakeOver)
	require.NoError(t, b.d.Finish())
	b.Blocked(0x100, emu.NoPASID, 0x10000)
	b.Blocked(0x108, emu.NoPASID, 0x10000)
	require.NoError(t, b.d.Attach(0x100, emu.NoPASID, b.Mapped(0x10000, target)))
	b.Reaches(0x100, emu.NoPASID, 0x10000, target)
}

// What an earlier system left in memory may be anything: it is bounded, and never a panic.
func TestTakeOver_GarbageIsBounded(t *testing.T) {
	a := start(t, nested)
	for sid := emu.SourceID(0x100); sid < 0x110; sid++ {
		require.NoError(t, a.d.Attach(sid, emu.NoPASID, a.Mapped(0x10000, target)))
		at, _ := a.d.ContextAt(sid)
		a.cpu.Store128(at, ^uint64(0)&^(1<<48-1<<30), ^uint64(0)) // a directory of 2^14 entries, all of them its own page
	}
	for pa := emu.PA(0); pa < 1<<17; pa += 8 {
		a.cpu.Store64(1<<30-1<<12+pa, 0x3fff_f001)
	}
	_, err := New(a.cpu, a.frames, Options{TakeOver: true})
	require.ErrorIs(t, err, ErrTakeOver)
}
