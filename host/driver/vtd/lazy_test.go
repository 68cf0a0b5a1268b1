package vtd

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

func lazyRig(t *testing.T, o Options) (*rig, host.Domain, *[]emu.IOVA) {
	r := machine(t).up(o)
	var released []emu.IOVA
	d := r.Domain(host.DomainSpec{Flush: host.FlushLazy, Released: func(iova emu.IOVA, _ uint64) {
		released = append(released, iova)
	}})
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, d))
	return r, d, &released
}

// Strict: nothing is reachable when Unmap returns. Lazy: it is, until the flush.
func TestLazy_StaleTranslationUntilTheFlush(t *testing.T) {
	r, a, released := lazyRig(t, Options{})
	require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	got := r.during(func() {
		n, err := a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		require.Equal(t, uint64(0x1000), n)
	})
	require.Empty(t, got)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	require.Empty(t, *released)
	_, waiting := r.d.LazyDue()
	require.True(t, waiting)
	got = r.during(func() { require.NoError(t, r.d.FlushLazy()) })
	require.Equal(t, []string{"iotlb g2 did 2", "wait"}, got)
	r.Blocked(dev, emu.NoPASID, 0x10000)
	require.Equal(t, []emu.IOVA{0x10000}, *released)
	_, waiting = r.d.LazyDue()
	require.False(t, waiting)
	require.Empty(t, r.during(func() { require.NoError(t, r.d.FlushLazy()) }))

	s := start(t)
	b := s.Mapped(0x10000, target)
	require.NoError(t, s.d.Attach(dev, emu.NoPASID, b))
	s.Reaches(dev, emu.NoPASID, 0x10000, target)
	_, err := b.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	s.Blocked(dev, emu.NoPASID, 0x10000)
}

func TestLazy_FlushesWhenFull(t *testing.T) {
	r, a, released := lazyRig(t, Options{LazyEntries: 8})
	require.NoError(t, a.Map(0x10000, target, 0x8000, emu.RW))
	for i := range 8 {
		require.Empty(t, *released)
		_, err := a.Unmap(0x10000+emu.IOVA(i)<<12, 0x1000)
		require.NoError(t, err)
	}
	require.Len(t, *released, 8)
	require.Equal(t, uint64(1), r.d.Stats().LazyFlushes)
}

// Time is a processor whose clock the test moves.
type clock struct {
	*drivertest.Spy
	now uint64
}

func (c *clock) Now() uint64 { return c.now }

func TestLazy_FlushesWhenOld(t *testing.T) {
	r := machine(t)
	c := &clock{Spy: r.cpu, now: 100}
	d, err := New(c, r.frames, Options{LazyCycles: 50})
	require.NoError(t, err)
	r.d, r.D = d, d
	n := 0
	a := r.Domain(host.DomainSpec{Flush: host.FlushLazy, Released: func(emu.IOVA, uint64) { n++ }})
	require.NoError(t, d.Attach(dev, emu.NoPASID, a))
	require.NoError(t, a.Map(0x10000, target, 0x3000, emu.RW))
	_, err = a.Unmap(0x10000, 0x1000)
	require.NoError(t, err)
	at, _ := d.LazyDue()
	require.Equal(t, uint64(150), at)
	c.now = 149
	_, err = a.Unmap(0x11000, 0x1000)
	require.NoError(t, err)
	require.Zero(t, n)
	c.now = 150
	require.NoError(t, a.Map(0x40000, target, 0x1000, emu.RW))
	require.Equal(t, 2, n)
}

// An address is not mapped again while a device can still reach its old page.
func TestLazy_MappingAWaitingAddressFlushesFirst(t *testing.T) {
	r, a, released := lazyRig(t, Options{})
	require.NoError(t, a.Map(0x10000, target, 0x2000, emu.RW))
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	_, err := a.Unmap(0x10000, 0x2000)
	require.NoError(t, err)
	require.NoError(t, a.Map(0x20000, target, 0x1000, emu.RW))
	require.Empty(t, *released)
	require.NoError(t, a.Map(0x11000, target+0x5000, 0x1000, emu.RW))
	require.Len(t, *released, 1)
	require.Equal(t, uint64(1), r.d.Stats().ForcedFlushes)
	r.Reaches(dev, emu.NoPASID, 0x11000, target+0x5000)
}

func TestLazy_TablePagesAreNotReusedBeforeTheFlush(t *testing.T) {
	r, a, _ := lazyRig(t, Options{})
	r.frames.SetPoison(true)
	require.NoError(t, a.Map(0x40_0000, target+0x1000, 0x20_0000, emu.RW))
	r.Reaches(dev, emu.NoPASID, 0x40_0000, target+0x1000)
	freed := r.frames.Stats().Freed
	_, err := a.Unmap(0x40_0000, 0x20_0000)
	require.NoError(t, err)
	require.Equal(t, freed, r.frames.Stats().Freed)
	r.Blocked(dev, emu.NoPASID, 0x40_1000) // walks the table that is out of the tree: its entries are empty
	require.NoError(t, r.d.FlushLazy())
	require.Equal(t, freed+1, r.frames.Stats().Freed)
}

func TestLazy_ManyDomainsOneWait(t *testing.T) {
	for _, n := range []int{3, 20} {
		r := start(t)
		for i := range n {
			a := r.Domain(host.DomainSpec{Flush: host.FlushLazy})
			require.NoError(t, r.d.Attach(emu.SourceID(i), emu.NoPASID, a))
			require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
			r.Reaches(emu.SourceID(i), emu.NoPASID, 0x10000, target)
			_, err := a.Unmap(0x10000, 0x1000)
			require.NoError(t, err)
		}
		got := r.during(func() { require.NoError(t, r.d.FlushLazy()) })
		if n == 3 {
			require.Equal(t, []string{"iotlb g2 did 2", "iotlb g2 did 3", "iotlb g2 did 4", "wait"}, got)
		} else {
			require.Equal(t, []string{"iotlb g1 did 0", "wait"}, got)
		}
		for i := range n {
			r.Blocked(emu.SourceID(i), emu.NoPASID, 0x10000)
		}
	}
}

// An id is given out again only when no cache holds anything under it.
func TestDomainID_ReusedOnlyAfterItsFlush(t *testing.T) {
	try := func(omit entry.Omit) emu.PA {
		r := start(t)
		a := r.Domain(host.DomainSpec{Flush: host.FlushLazy})
		require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		_, err := a.Unmap(0x10000, 0x1000)
		require.NoError(t, err)
		r.d.SetOmit(omit)
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		id := a.ID()
		require.NoError(t, a.Free())
		r.d.SetOmit(0)
		b := r.Mapped(0x10000, target+0x1000)
		require.Equal(t, id, b.ID())
		require.NoError(t, r.d.Attach(0x500, emu.NoPASID, b))
		return r.Access(0x500, emu.NoPASID, 0x10000, emu.Read).PA
	}
	require.Equal(t, target+0x1000, try(0))
	require.Equal(t, target, try(entry.OmitIOTLB), "another device reaches the page of the domain before")
}

// After a replacement that failed half-way hardware may hold either entry: neither domain is freed until
// a change succeeds, and that drops both.
func TestReplace_FailedHalfWay(t *testing.T) {
	for _, mode := range []func(*hw.Config){scalable, legacy} {
		r := start(t, mode)
		a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		r.cpu.Drop[0x88] = true // IQT: invalidations do not get through
		_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.ErrorIs(t, err, host.ErrTimeout)
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		require.Equal(t, a, r.d.Attached(dev, emu.NoPASID))
		require.ErrorIs(t, a.Free(), host.ErrBusy)
		require.ErrorIs(t, b.Free(), host.ErrBusy)
		require.ErrorIs(t, r.d.Detach(dev, emu.NoPASID), host.ErrTimeout)
		require.ErrorIs(t, r.d.Release(dev), host.ErrBusy)

		r.cpu.Drop[0x88] = false
		rep, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
		require.NoError(t, err)
		require.Equal(t, b, r.d.Attached(dev, emu.NoPASID))
		require.Equal(t, entry.VerdictHitless, rep.Verdict)
		r.Reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
		require.NoError(t, a.Free())
		require.NoError(t, r.d.Detach(dev, emu.NoPASID))
		r.Blocked(dev, emu.NoPASID, 0x10000)
		require.NoError(t, b.Free())
		require.NoError(t, r.d.Release(dev))
	}
}

func TestReplace_RefusedEntryChangesNothing(t *testing.T) {
	r := start(t)
	a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	r.d.formatPASID.Legal = func([]uint64) error { return errors.New("not today") }
	_, err := r.d.Replace(dev, emu.NoPASID, b, entry.Hitless)
	require.ErrorIs(t, err, entry.ErrIllegal)
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	require.NoError(t, b.Free())
}
