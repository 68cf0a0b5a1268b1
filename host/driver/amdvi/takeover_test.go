package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// kexec starts another kernel's driver on the machine while translation is on. It has other memory.
func (r *rig) kexec(o Options) *rig {
	r.T.Helper()
	next := &rig{Rig: r.Next(), unit: r.unit}
	o.TakeOver = true
	next.up(o)
	for _, w := range r.CPU.Writes {
		if w.Off == spec.OffControl {
			require.True(r.T, spec.CtlIommuEn.On(w.V), "IommuEn stays on")
		}
		require.False(r.T, w.Off == spec.OffDevTabBase || w.Off >= spec.OffDevTabSeg1 && w.Off < spec.OffDevTabSeg1+56, "the device table stays")
	}
	return next
}

var takeOvers = []struct {
	name  string
	opt   Options
	stage host.Stage
}{
	{"host tables", Options{}, host.StageSecond},
	{"guest tables", Options{}, host.StageFirst},
	{"segments", Options{Segments: 3}, host.StageSecond},
	{"interrupts", Options{IRQ: true}, host.StageFirst},
}

func TestTakeOver_DevicesStayAtWork(t *testing.T) {
	for _, c := range takeOvers {
		t.Run(c.name, func(t *testing.T) {
			a := machine(t).up(c.opt)
			kept, moved, lost := a.In(c.stage, 0x10000, target), a.In(c.stage, 0x10000, target+0x1000), a.In(c.stage, 0x10000, target+0x2000)
			require.NoError(t, a.d.Attach(0x100, emu.NoPASID, kept))
			require.NoError(t, a.d.Attach(0x280, emu.NoPASID, moved))
			require.NoError(t, a.d.Attach(0x300, emu.NoPASID, lost))
			require.NoError(t, a.d.Attach(0x308, emu.NoPASID, a.Domain(host.DomainSpec{Kind: host.DomainIdentity})))

			b := a.kexec(c.opt)
			require.Equal(t, a.d.DeviceTable(), b.d.DeviceTable())
			check := func(sid emu.SourceID, pa emu.PA) { t.Helper(); b.Reaches(sid, emu.NoPASID, 0x10000, pa) }
			check(0x100, target)
			check(0x280, target+0x1000)
			check(0x300, target+0x2000)
			check(0x308, 0x10000)
			b.Blocked(0x310, emu.NoPASID, 0x10000)
			require.Equal(t, []emu.SourceID{0x100, 0x280, 0x300, 0x308}, b.d.Inherited())

			// The same tables under the same id: nothing to do, but that guest tables get a GCR3 table of the domain.
			same := b.CopyOf(kept)
			_, err := b.d.Replace(0x100, emu.NoPASID, same, entry.Hitless)
			require.ErrorIs(t, err, host.ErrNotAttached, "not known yet")
			require.NoError(t, b.d.Probe(0x100, host.DeviceSpec{}))
			stores := b.d.Stats().Stores
			rep, err := b.d.Replace(0x100, emu.NoPASID, same, entry.Hitless)
			require.NoError(t, err)
			want := entry.VerdictNop
			if c.stage == host.StageFirst {
				want = entry.VerdictHitless
			} else {
				require.Equal(t, stores, b.d.Stats().Stores)
			}
			require.Equal(t, want, rep.Verdict, rep.Reason)
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
			require.NoError(t, same.SetDirty(true))
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
			for _, x := range b.d.Lent() {
				require.Equal(t, a.d.k.Owner, a.Frames.Owner(x.PA), "the device table")
			}
		})
	}
}

func TestTakeOver_PASIDs(t *testing.T) {
	a := start(t)
	require.NoError(t, a.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 10}))
	doms := map[emu.PASID]host.Domain{}
	for i, pasid := range []emu.PASID{emu.NoPASID, 5, 6, 900} {
		doms[pasid] = a.In(host.StageFirst, 0x10000, target+emu.PA(i)<<12)
		require.NoError(t, a.d.Attach(dev, pasid, doms[pasid]))
	}
	b := a.kexec(Options{})
	require.ErrorIs(t, b.d.Attach(dev, 7, b.In(host.StageSecond, 0x10000, target)), host.ErrUnsupported)
	require.NoError(t, b.d.Attach(dev, 5, b.In(host.StageFirst, 0x10000, target+0x8000)), "it is made known as it was")
	nested := b.Guest(0x4_0000_0000, host.DomainSpec{}).Mapped(0x10000, 0x1000)
	require.ErrorIs(t, b.d.Attach(dev, 7, nested), host.ErrBusy, "others have no host tables")
	require.NoError(t, b.d.Attach(dev, 901, b.In(host.StageFirst, 0x10000, target+0x9000)))
	require.NoError(t, b.d.Attach(dev, emu.NoPASID, b.In(host.StageFirst, 0x10000, target+0x7000)))
	require.NoError(t, b.d.Attach(dev, 700, b.In(host.StageFirst, 0x10000, target+0xa000)))
	want := map[emu.PASID]emu.PA{
		emu.NoPASID: target + 0x7000, 5: target + 0x8000, 6: target + 0x2000, 900: target + 0x3000, 901: target + 0x9000, 700: target + 0xa000,
	}
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
	require.Len(t, lent, 4, "the device table, and three GCR3 tables")
	for _, x := range lent {
		require.Equal(t, a.d.k.Owner, a.Frames.Owner(x.PA))
	}
	for pasid := range want {
		if pasid != 6 && pasid != 900 {
			require.NoError(t, b.d.Detach(dev, pasid))
		}
	}
	require.NoError(t, b.d.Release(dev))
	require.Len(t, b.d.Lent(), 1)
	require.NoError(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 12}))
	require.NoError(t, b.d.Attach(dev, 0xfff, b.In(host.StageFirst, 0x10000, target)))
	b.Reaches(dev, 0xfff, 0x10000, target)
}

// What an earlier system has left to requests without PASID decides over what PASIDs can be attached.
func TestTakeOver_RequestsWithoutPASIDFirst(t *testing.T) {
	for _, kind := range []host.DomainSpec{{Stage: host.StageSecond}, {Kind: host.DomainIdentity}, {Stage: host.StageFirst}} {
		a := start(t)
		require.NoError(t, a.d.Attach(dev, emu.NoPASID, a.Domain(kind)))
		b := a.kexec(Options{})
		require.NoError(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
		require.ErrorIs(t, b.d.Attach(dev, 5, b.In(host.StageFirst, 0x10000, target)), host.ErrBusy)
		require.NoError(t, b.d.Attach(dev, emu.NoPASID, b.Domain(host.DomainSpec{Kind: host.DomainIdentity})))
		require.NoError(t, b.d.Attach(dev, 5, b.In(host.StageFirst, 0x10000, target)))
		b.Reaches(dev, 5, 0x10000, target)
		b.Reaches(dev, emu.NoPASID, 0x10000, 0x10000)
		require.NoError(t, b.d.Finish())
	}
}

// Identity of requests without PASID stays beside PASIDs, claimed or not.
func TestTakeOver_IdentityBesidePASIDs(t *testing.T) {
	for _, claim := range []bool{true, false} {
		a := start(t)
		require.NoError(t, a.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
		require.NoError(t, a.d.Attach(dev, emu.NoPASID, a.Domain(host.DomainSpec{Kind: host.DomainIdentity})))
		require.NoError(t, a.d.Attach(dev, 5, a.In(host.StageFirst, 0x10000, target)))
		b := a.kexec(Options{})
		require.NoError(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: 16}))
		require.NoError(t, b.d.Attach(dev, 6, b.In(host.StageFirst, 0x10000, target+0x1000)))
		b.Reaches(dev, emu.NoPASID, 0x10000, 0x10000)
		b.Reaches(dev, 5, 0x10000, target)
		if claim {
			require.NoError(t, b.d.Attach(dev, emu.NoPASID, b.Domain(host.DomainSpec{Kind: host.DomainIdentity})))
			b.Reaches(dev, 5, 0x10000, target)
		}
		require.NoError(t, b.d.Finish())
		b.Reaches(dev, 6, 0x10000, target+0x1000)
		b.Blocked(dev, 5, 0x10000)
		if claim {
			b.Reaches(dev, emu.NoPASID, 0x10000, 0x10000)
		} else {
			b.Blocked(dev, emu.NoPASID, 0x10000)
		}
	}
}

// A guest goes on over tables that were adopted.
func TestTakeOver_Nested(t *testing.T) {
	a := start(t)
	g := a.Guest(0x4_0000_0000, host.DomainSpec{Width: 48})
	dom := g.Mapped(0x10000, 0x1000)
	require.NoError(t, a.d.Attach(dev, emu.NoPASID, dom))
	a.Reaches(dev, emu.NoPASID, 0x10000, 0x4_0000_1000)
	b := a.kexec(Options{})
	parent := b.CopyOf(g.Parent)
	root, levels := dom.Tables().Root()
	_, err := b.d.NewDomain(host.DomainSpec{Kind: host.DomainNested, Parent: parent, Root: root + 0x1000, Levels: levels, ID: dom.ID()})
	require.ErrorIs(t, err, host.ErrBusy, "another table under the id")
	same := b.Domain(host.DomainSpec{Kind: host.DomainNested, Parent: parent, Root: root, Levels: levels, ID: dom.ID()})
	require.NoError(t, b.d.Attach(dev, emu.NoPASID, same))
	b.Reaches(dev, emu.NoPASID, 0x10000, 0x4_0000_1000)
	require.NoError(t, b.d.Finish())
	b.Reaches(dev, emu.NoPASID, 0x10000, 0x4_0000_1000)
	_, err = parent.Unmap(0x0, 16<<20)
	require.NoError(t, err)
	b.Blocked(dev, emu.NoPASID, 0x10000)
}

func TestTakeOver_Refused(t *testing.T) {
	a := machine(t).up(Options{IRQ: true})
	to, _ := a.Handler()
	_, _, err := a.d.MapIRQ(dev, to)
	require.NoError(t, err)
	b := a.Next()
	_, err = New(b.CPU, b.Frames, Options{TakeOver: true})
	require.ErrorIs(t, err, ErrTakeOver, "interrupts are remapped")
	require.ErrorContains(t, err, "Options.IRQ")

	// A unit that is off is brought up as any.
	off := machine(t)
	d, err := New(off.CPU, off.Frames, Options{TakeOver: true, LastDevice: 0xff})
	require.NoError(t, err)
	require.Nil(t, d.k.Heritage)
}

func TestTakeOver_Interrupts(t *testing.T) {
	for _, v := range irqVariants {
		t.Run(v.name, func(t *testing.T) {
			a := machine(t, v.change...).up(v.opt)
			first, n := a.Handler()
			q, m, err := a.d.MapIRQ(dev, first)
			require.NoError(t, err)
			lost, lm, err := a.d.MapIRQ(dev, first)
			require.NoError(t, err)
			b := a.kexec(v.opt)
			b.Send(dev, m)
			b.Send(dev, lm)
			require.Equal(t, 2, *n)
			require.Equal(t, []host.IRQ{q, lost}, b.d.InheritedIRQs())
			second, k := b.Handler()
			require.NoError(t, b.d.MoveIRQ(q, 0, second))
			b.Send(dev, m)
			require.Equal(t, 1, *k)
			fresh, fm, err := b.d.MapIRQ(dev, second)
			require.NoError(t, err)
			require.NotContains(t, []host.IRQ{q, lost}, fresh)
			require.NoError(t, b.d.Finish())
			require.Equal(t, emu.Blocked, b.Send(dev, lm).Status)
			b.Send(dev, m)
			b.Send(dev, fm)
			require.Equal(t, 3, *k)
			require.Empty(t, b.d.InheritedIRQs())
		})
	}
}

// Entries that let everything pass are nobody's: Finish makes them block.
func TestTakeOver_FinishSanitisesTheDeviceTable(t *testing.T) {
	a := machine(t).up(Options{})
	for _, sid := range []emu.SourceID{0x7, 0x1000} {
		at := a.d.dteAt(sid)
		a.CPU.Functional.Store128(at, 0, 0)
	}
	b := a.kexec(Options{IRQ: true})
	b.Reaches(0x7, emu.NoPASID, 0x10000, 0x10000)
	require.Empty(t, b.d.Inherited())
	require.NoError(t, b.d.Finish())
	for sid := range emu.SourceID(0x2000) {
		e := b.d.readDTE(sid)
		require.True(t, e.V() && e.IV() && !e.TV(), "%#x", sid)
	}
	b.Blocked(0x7, emu.NoPASID, 0x10000)
	b.Blocked(0x1000, emu.NoPASID, 0x10000)
}

// The id that identity domains usually have is one of an earlier system's domains.
func TestTakeOver_IdentityIDInUse(t *testing.T) {
	a := start(t)
	dom := a.In(host.StageSecond, 0x10000, target)
	require.NoError(t, a.d.Attach(dev, emu.NoPASID, dom))
	at, _ := a.d.EntryAt(dev, emu.NoPASID)
	w := []uint64{0, a.CPU.Load64(at + 8)}
	spec.DteDomainID.Set(w, identityID)
	a.CPU.Functional.Store64(at+8, w[1])
	b := a.kexec(Options{})
	pass := b.Domain(host.DomainSpec{Kind: host.DomainIdentity})
	require.NotEqual(t, uint32(identityID), pass.ID())
	require.NoError(t, b.d.Attach(0x100, emu.NoPASID, pass))
	b.Reaches(0x100, emu.NoPASID, 0x10000, 0x10000)
	b.Reaches(dev, emu.NoPASID, 0x10000, target)
	require.NoError(t, b.d.Detach(0x100, emu.NoPASID))
	require.NoError(t, pass.Free())
	require.NoError(t, b.d.Finish())
}

// Whatever memory holds, New returns, and Finish blocks it.
func TestTakeOver_Garbage(t *testing.T) {
	for name, f := range map[string]func(a *rig, at emu.PA) error{
		"GCR3 table that leads to itself": func(a *rig, at emu.PA) error {
			e := spec.DTE{spec.DteV.Mask() | spec.DteTV.Mask() | 3<<61 | spec.DteGV.Mask() | spec.DteGLX.Put(2)}
			table, err := a.Frames.Alloc(12)
			require.NoError(a.T, err)
			for i := range emu.PA(512) {
				a.CPU.Functional.Store64(table+i*8, uint64(table)|1)
			}
			e.SetGCR3Root(uint64(table))
			a.CPU.Functional.Store128(at, e[0], e[1])
			return ErrTakeOver
		},
		"all ones": func(a *rig, at emu.PA) error {
			a.CPU.Functional.Store128(at, ^uint64(0), ^uint64(0))
			a.CPU.Functional.Store128(at+16, ^uint64(0), ^uint64(0))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			want := f(a, a.d.dteAt(dev))
			b := a.Next()
			d, err := New(b.CPU, b.Frames, Options{TakeOver: true, LastDevice: 0xfff})
			require.ErrorIs(t, err, want)
			if err == nil {
				require.NoError(t, d.Finish())
				e := d.readDTE(dev)
				require.False(t, d.formatDTE.Present(e[:]))
			}
		})
	}
}
