package smmuv3

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// kexec starts another kernel's driver on the machine while translation is on. It has other memory.
func (r *rig) kexec(o Options) *rig {
	r.T.Helper()
	next := &rig{Rig: r.Next(), unit: r.unit}
	o.TakeOver = true
	next.up(o)
	for _, w := range r.CPU.Writes {
		if w.Off == spec.OffCR0 {
			require.NotZero(r.T, w.V&spec.Cr0SMMUEN.Mask(), "SMMUEN stays on")
		}
		require.NotContains(r.T, []uint32{spec.OffSTRTABBase, spec.OffSTRTABBaseCfg, spec.OffCR1, spec.OffCR2}, w.Off)
	}
	return next
}

var takeOvers = []struct {
	name   string
	stage  host.Stage
	opt    Options
	change func(*hw.Config)
}{
	{"stage 1", host.StageFirst, Options{}, noMessages},
	{"stage 1, in place", host.StageFirst, Options{Move: MoveASID}, noRanges},
	{"stage 2", host.StageSecond, Options{}, noRanges},
	{"linear stream table", host.StageSecond, Options{}, linear},
	{"linear by choice", host.StageFirst, Options{Linear: true, StreamBits: 10}, noRanges},
}

func TestTakeOver_DevicesStayAtWork(t *testing.T) {
	for _, c := range takeOvers {
		t.Run(c.name, func(t *testing.T) {
			a := machine(t, c.change).up(c.opt)
			const one, two, three, four = 0x10, 0x18, 0x20, 0x28
			kept, moved, lost := a.stage(c.stage, 0), a.stage(c.stage, 1), a.stage(c.stage, 2)
			require.NoError(t, a.d.Attach(one, emu.NoPASID, kept))
			require.NoError(t, a.d.Attach(two, emu.NoPASID, moved))
			require.NoError(t, a.d.Attach(three, emu.NoPASID, lost))
			require.NoError(t, a.d.Attach(four, emu.NoPASID, a.Domain(host.DomainSpec{Kind: host.DomainIdentity})))

			b := a.kexec(c.opt)
			check := func(sid emu.SourceID, pa emu.PA) { t.Helper(); b.Reaches(sid, emu.NoPASID, iova, pa) }
			check(one, page(0))
			check(two, page(1))
			check(three, page(2))
			check(four, emu.PA(iova))
			b.Blocked(0x30, emu.NoPASID, iova)
			require.Equal(t, []emu.SourceID{one, two, three, four}, b.d.Inherited())

			// The same tables under the same id: nothing to do.
			same := b.CopyOf(kept)
			_, err := b.d.Replace(one, emu.NoPASID, same, entry.Hitless)
			require.ErrorIs(t, err, host.ErrNotAttached, "not known yet")
			require.NoError(t, b.d.Probe(one, host.DeviceSpec{}))
			rep, err := b.d.Replace(one, emu.NoPASID, same, entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictNop, rep.Verdict)
			require.Zero(t, rep.Stores)
			check(one, page(0))

			// Other tables: replaced like any.
			fresh := b.stage(c.stage, 3)
			require.NotContains(t, []uint32{kept.ID(), moved.ID(), lost.ID()}, fresh.ID())
			require.NoError(t, b.d.Probe(two, host.DeviceSpec{}))
			rep, err = b.d.Replace(two, emu.NoPASID, fresh, entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
			check(two, page(3))

			require.Equal(t, []emu.SourceID{three, four}, b.d.Inherited())
			require.NoError(t, b.d.Finish())
			require.NoError(t, b.d.Finish(), "nothing is left to do")
			require.Empty(t, b.d.Inherited())
			check(one, page(0))
			check(two, page(3))
			b.Blocked(three, emu.NoPASID, iova)
			b.Blocked(four, emu.NoPASID, iova)
			require.Empty(t, b.Faults)
			ids := map[uint32]bool{}
			for range 4 {
				ids[b.Domain(host.DomainSpec{Stage: c.stage}).ID()] = true
			}
			require.True(t, ids[lost.ID()] && ids[moved.ID()], "free again")
			require.False(t, ids[kept.ID()])
			require.NoError(t, b.d.Attach(three, emu.NoPASID, fresh))
			check(three, page(3))
			require.NotEmpty(t, b.d.Lent(), "the stream table stays where it is")

			// The adopted domain works as any: what is unmapped is reached no more.
			_, err = same.Unmap(iova, 0x1000)
			require.NoError(t, err)
			b.Blocked(one, emu.NoPASID, iova)
		})
	}
}

// PASIDs of an earlier system stay at work, are replaced one by one, and are blocked if nobody claims them.
func TestTakeOver_PASIDs(t *testing.T) {
	for _, c := range tables {
		t.Run(c.name, func(t *testing.T) {
			var change []func(*hw.Config)
			if c.change != nil {
				change = append(change, c.change)
			}
			a := machine(t, change...).up(c.opt)
			pasids := min(c.pasids, 2000)
			require.NoError(t, a.d.Probe(dev, host.DeviceSpec{PASIDs: pasids}))
			rid, kept, moved, lost := a.stage(host.StageFirst, 0), a.stage(host.StageFirst, 1), a.stage(host.StageFirst, 2), a.stage(host.StageFirst, 3)
			last := emu.PASID(pasids - 1)
			for p, dom := range map[emu.PASID]host.Domain{emu.NoPASID: rid, 1: kept, 2: moved, last: lost} {
				require.NoError(t, a.d.Attach(dev, p, dom))
			}
			b := a.kexec(c.opt)
			check := func(p emu.PASID, i int) { t.Helper(); b.Reaches(dev, p, iova, page(i)) }
			for i, p := range []emu.PASID{emu.NoPASID, 1, 2, last} {
				check(p, i)
			}
			require.NoError(t, b.d.Probe(dev, host.DeviceSpec{PASIDs: pasids}))
			rep, err := b.d.Replace(dev, 1, b.CopyOf(kept), entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictNop, rep.Verdict)
			rep, err = b.d.Replace(dev, 2, b.stage(host.StageFirst, 7), entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
			check(2, 7)
			rep, err = b.d.Replace(dev, emu.NoPASID, b.stage(host.StageFirst, 8), entry.Hitless)
			require.NoError(t, err)
			require.Equal(t, entry.VerdictHitless, rep.Verdict, rep.Reason)
			check(emu.NoPASID, 8)
			// A PASID that was not in use.
			require.NoError(t, b.d.Attach(dev, 5, b.stage(host.StageFirst, 9)))
			check(5, 9)
			check(last, 3)
			require.NoError(t, b.d.Finish())
			b.Blocked(dev, last, iova)
			check(emu.NoPASID, 8)
			check(1, 1)
			check(2, 7)
			check(5, 9)
			for _, p := range []emu.PASID{1, 2, 5, emu.NoPASID} {
				require.NoError(t, b.d.Detach(dev, p))
				b.Blocked(dev, p, iova)
			}
			require.NoError(t, b.d.Release(dev))
		})
	}
}

// An id is claimed only with the tables that it stands for.
func TestTakeOver_IDsBelongToTables(t *testing.T) {
	a := start(t)
	one, two := a.stage(host.StageFirst, 0), a.stage(host.StageSecond, 1)
	require.NoError(t, a.d.Attach(1, emu.NoPASID, one))
	require.NoError(t, a.d.Attach(2, emu.NoPASID, two))
	b := a.kexec(Options{})
	for i, d := range []host.Domain{one, two} {
		root, levels := d.Tables().Root()
		stage := []host.Stage{host.StageFirst, host.StageSecond}[i]
		_, err := b.d.NewDomain(host.DomainSpec{Stage: stage, ID: d.ID(), Root: root + 0x1_0000, Levels: levels})
		require.ErrorIs(t, err, host.ErrBusy)
		_, err = b.d.NewDomain(host.DomainSpec{Stage: stage, ID: d.ID()})
		require.ErrorIs(t, err, host.ErrBusy)
		dom, err := b.d.NewDomain(host.DomainSpec{Stage: stage, ID: d.ID(), Root: root, Levels: levels})
		require.NoError(t, err)
		require.Equal(t, d.ID(), dom.ID())
		require.ErrorIs(t, dom.Free(), host.ErrBusy, "the device still uses it")
	}
}

// Tables that nobody can go on from are refused, whatever memory holds.
func TestTakeOver_Refused(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"a leaf of the stream table that is too small": func(r *rig) {
			at := r.d.streams.base + emu.PA(dev>>splitBits)*8
			r.CPU.Store64(at, r.CPU.Load64(at)&^0x1f|3)
		},
		"a CD table of a million leaves": func(r *rig) {
			at, w := r.d.STEAt(dev)
			r.CPU.Store64(at, w[0]|spec.SteS1CDMax.Put(31)|spec.SteS1Fmt.Put(spec.S1Fmt4K))
		},
	} {
		a := start(t)
		require.NoError(t, a.d.Attach(dev, emu.NoPASID, a.stage(host.StageFirst, 0)))
		spoil(a)
		_, err := New(a.CPU, a.Frames, Options{TakeOver: true})
		require.ErrorIs(t, err, driver.ErrTakeOver, name)
	}
	// A unit that is off has nothing to be taken over.
	r := machine(t).up(Options{TakeOver: true})
	require.Empty(t, r.d.Inherited())
	require.NoError(t, r.d.Finish())
}
