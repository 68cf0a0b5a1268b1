package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

func TestAttach_Errors(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x10000, target)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 64}))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	other := start(t)
	for _, c := range []struct {
		name string
		do   func() error
		want error
	}{
		{"attached twice", func() error { return r.d.Attach(dev, emu.NoPASID, a) }, host.ErrBusy},
		{"foreign domain", func() error { return r.d.Attach(dev, 1, other.Mapped(0, target)) }, host.ErrForeign},
		{"PASID 0", func() error { return r.d.Attach(dev, 0, a) }, host.ErrPASID},
		{"PASID beyond the device", func() error { return r.d.Attach(dev, 64, a) }, host.ErrPASID},
		{"no requester id", func() error { return r.d.Attach(0x1_0000, emu.NoPASID, a) }, host.ErrDevice},
		{"probed twice", func() error { return r.d.Probe(dev, host.DeviceSpec{}) }, host.ErrDevice},
		{"too many PASIDs", func() error { return r.d.Probe(7, host.DeviceSpec{PASIDs: 1 << 21}) }, host.ErrUnsupported},
		{"detach nothing", func() error { return r.d.Detach(dev, 3) }, host.ErrNotAttached},
		{"replace nothing", func() error { _, err := r.d.Replace(dev, 3, a, entry.Hitless); return err }, host.ErrNotAttached},
		{"free attached", a.Free, host.ErrBusy},
		{"release attached", func() error { return r.d.Release(dev) }, host.ErrBusy},
		{"release unknown", func() error { return r.d.Release(0x99) }, host.ErrDevice},
		{"id in use", func() error { _, err := r.d.NewDomain(host.DomainSpec{ID: a.ID()}); return err }, host.ErrBusy},
		{"id 1 is for pass-through", func() error { _, err := r.d.NewDomain(host.DomainSpec{ID: 1}); return err }, host.ErrBusy},
		{"too wide", func() error { _, err := r.d.NewDomain(host.DomainSpec{Width: 60}); return err }, host.ErrUnsupported},
		{"map without tables", func() error { return r.Domain(host.DomainSpec{Kind: host.DomainIdentity}).Map(0, 0, 0x1000, emu.RW) }, host.ErrUnsupported},
	} {
		require.ErrorIs(t, c.do(), c.want, c.name)
	}
	l := start(t, legacy)
	require.ErrorIs(t, l.d.Attach(dev, 1, l.Mapped(0, target)), host.ErrUnsupported)
	b := r.Mapped(0x10000, target)
	require.NoError(t, b.Free())
	require.ErrorIs(t, r.d.Attach(dev, 1, b), host.ErrForeign)
	require.ErrorIs(t, b.Map(0, target, 0x1000, emu.RW), host.ErrForeign)
}

func TestAttach_IdentityAndBlocked(t *testing.T) {
	for _, mode := range []func(*hw.Config){scalable, legacy} {
		r := start(t, mode)
		id, no := r.Domain(host.DomainSpec{Kind: host.DomainIdentity}), r.Domain(host.DomainSpec{Kind: host.DomainBlocked})
		a := r.Mapped(0x10000, target)
		require.Equal(t, uint32(1), id.ID())
		require.Zero(t, no.ID())
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, id))
		r.Reaches(dev, emu.NoPASID, 0x10000, 0x10000)
		for _, w := range entry.Writers() {
			for _, d := range []host.Domain{a, no, id, no, a, id} {
				_, err := r.d.Replace(dev, emu.NoPASID, d, w)
				require.NoError(t, err)
				switch d.Kind() {
				case host.DomainPaging:
					r.Reaches(dev, emu.NoPASID, 0x10000, target)
				case host.DomainIdentity:
					r.Reaches(dev, emu.NoPASID, 0x10000, 0x10000)
				default:
					r.Blocked(dev, emu.NoPASID, 0x10000)
				}
			}
		}
	}
	_, err := start(t, func(c *hw.Config) { c.PT = false }).d.NewDomain(host.DomainSpec{Kind: host.DomainIdentity})
	require.ErrorIs(t, err, host.ErrUnsupported)
}

func TestAttach_SixtyFourPASIDs(t *testing.T) {
	const n = 64
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 1 << 16}))
	pasid := func(i int) emu.PASID { return emu.PASID(1 + i*1000) } // over many tables
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	for i := range n {
		require.NoError(t, r.d.Attach(dev, pasid(i), r.Mapped(0x10000, target+emu.PA(i+1)<<12)))
	}
	for i := range n {
		r.Reaches(dev, pasid(i), 0x10000, target+emu.PA(i+1)<<12)
		r.Blocked(dev, pasid(i)+1, 0x10000)
	}
	for i := range n {
		old := r.d.Attached(dev, pasid(i))
		next := r.Mapped(0x10000, target+emu.PA(i+100)<<12)
		rep, err := r.d.Replace(dev, pasid(i), next, entry.Writers()[i%4])
		require.NoError(t, err)
		require.NotEqual(t, entry.VerdictNop, rep.Verdict)
		require.NoError(t, old.Free())
		require.Equal(t, next, r.d.Attached(dev, pasid(i)))
	}
	for i := range n {
		r.Reaches(dev, pasid(i), 0x10000, target+emu.PA(i+100)<<12)
	}
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	for i := range n {
		require.NoError(t, r.d.Detach(dev, pasid(i)))
		r.Blocked(dev, pasid(i), 0x10000)
	}
	require.NoError(t, r.d.Detach(dev, emu.NoPASID))
	require.NoError(t, r.d.Release(dev))
	require.Equal(t, uint16(0x41), r.Blocked(dev, emu.NoPASID, 0x10000).Fault.Code, "context entry not present")
}

func TestAttach_ThousandsOfDevices(t *testing.T) {
	for _, mode := range []func(*hw.Config){scalable, legacy} {
		r := start(t, mode)
		var doms []host.Domain
		for i := range 16 {
			doms = append(doms, r.Mapped(0x10000, target+emu.PA(i)<<12))
		}
		const n = 4096
		sid := func(i int) emu.SourceID { return emu.SourceID(i * 13) }
		for i := range n {
			require.NoError(t, r.d.Attach(sid(i), emu.NoPASID, doms[i%16]))
		}
		for i := range n {
			r.Reaches(sid(i), emu.NoPASID, 0x10000, target+emu.PA(i%16)<<12)
		}
		for i := range n {
			require.NoError(t, r.d.Detach(sid(i), emu.NoPASID))
			require.NoError(t, r.d.Release(sid(i)))
		}
		r.Blocked(sid(5), emu.NoPASID, 0x10000)
		for _, d := range doms {
			require.NoError(t, d.Free())
		}
		for b := range r.frames.Blocks() {
			require.Equal(t, r.d.k.Owner, b.Owner, "only the driver's own structures are left")
		}
	}
}

func TestReplace_ReportAndEntry(t *testing.T) {
	for _, c := range []struct {
		w       entry.Writer
		mode    func(*hw.Config)
		stores  int
		verdict entry.Verdict
		inv     int
		waits   int
	}{
		{entry.Hitless, legacy, 1, entry.VerdictHitless, 2, 1},
		{entry.Hitless, scalable, 1, entry.VerdictHitless, 2, 1},
		{entry.Linux, legacy, 6, entry.VerdictDisruptive, 2, 2},
		{entry.Linux, scalable, 6, entry.VerdictDisruptive, 2, 2},
		{entry.Naive, legacy, 2, entry.VerdictDisruptive, 2, 1},
		{entry.Naive, scalable, 8, entry.VerdictDisruptive, 2, 1},
		{entry.BreakMake, legacy, 2, entry.VerdictDisruptive, 2, 1},
		{entry.BreakMake, scalable, 2, entry.VerdictDisruptive, 2, 1},
	} {
		r := start(t, c.mode)
		a, b := r.Mapped(0x10000, target), r.Mapped(0x10000, target+0x1000)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
		r.Reaches(dev, emu.NoPASID, 0x10000, target)
		at, old := r.d.EntryAt(dev, emu.NoPASID)
		rep, err := r.d.Replace(dev, emu.NoPASID, b, c.w)
		require.NoError(t, err)
		require.Equal(t, c.w.Name(), rep.Writer)
		require.Equal(t, c.stores, rep.Stores, c.w.Name())
		require.Equal(t, c.verdict, rep.Verdict, c.w.Name())
		require.Equal(t, entry.Cost{Invalidations: c.inv, Waits: c.waits}, rep.Cost, c.w.Name())
		require.Equal(t, old, rep.States[0])
		again, now := r.d.EntryAt(dev, emu.NoPASID)
		require.Equal(t, at, again)
		require.Equal(t, now, rep.States[len(rep.States)-1])
		root, levels := b.Tables().Root()
		require.Equal(t, uint64(root), now[0]&^0xfff)
		if r.d.Scalable() {
			require.Equal(t, uint64(levels-2), now[0]>>2&7)
			require.Equal(t, uint64(2), now[0]>>6&7)
			require.Equal(t, uint64(b.ID()), now[1]&0xffff)
		} else {
			require.Equal(t, uint64(levels-2), now[1]&7)
			require.Equal(t, uint64(b.ID()), now[1]>>8&0xffff)
		}
		r.Reaches(dev, emu.NoPASID, 0x10000, target+0x1000)
		rep, err = r.d.Replace(dev, emu.NoPASID, b, c.w)
		require.NoError(t, err)
		require.Equal(t, entry.VerdictNop, rep.Verdict)
		require.Zero(t, rep.Stores+rep.Invalidations+rep.Waits)
	}
}

func TestEntryAt_BeforeThereIsOne(t *testing.T) {
	r := start(t)
	at, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.Zero(t, at)
	require.Nil(t, raw)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{PASIDs: 1024}))
	at, _ = r.d.EntryAt(dev, 900)
	require.Zero(t, at)
	require.NoError(t, r.d.Attach(dev, 900, r.Mapped(0, target)))
	at, raw = r.d.EntryAt(dev, 900)
	require.NotZero(t, at)
	require.Len(t, raw, 8)
	_, raw = r.d.EntryAt(dev, 901)
	require.Equal(t, make([]uint64, 8), raw)
	at, raw = r.d.ContextAt(dev)
	require.NotZero(t, at)
	require.EqualValues(t, 1|1<<3, raw[0]&0x1f, "present, PASIDs on")
	require.Nil(t, r.d.Attached(dev, 901))
}

// Tables say whose they are.
func TestDomain_TablePagesHaveAnOwner(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x10000, target)
	for p := range a.Tables().TablePages() {
		require.Equal(t, r.d.k.Owner+a.ID(), r.frames.Owner(p.PA))
	}
	at, _ := r.d.EntryAt(dev, emu.NoPASID)
	require.Zero(t, at)
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	at, _ = r.d.EntryAt(dev, emu.NoPASID)
	require.Equal(t, r.d.k.Owner, r.frames.Owner(at))
}

func TestDomain_AdoptsTablesAndID(t *testing.T) {
	r := start(t)
	a := r.Mapped(0x10000, target)
	root, levels := a.Tables().Root()
	id := a.ID()
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))

	// The same tables under the same id in a second driver's domain make the same entry.
	next := machine(t)
	next.mem, next.cpu, next.frames = r.mem, r.cpu, r.frames
	next.up(Options{})
	b, err := next.d.NewDomain(host.DomainSpec{ID: id, Root: root, Levels: levels})
	require.NoError(t, err)
	require.Equal(t, id, b.ID())
	tr, ok := b.Lookup(0x10008)
	require.True(t, ok)
	require.Equal(t, target+8, tr.PA)
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.Equal(t, raw, arch{r.d}.Words(r.d.k.Devices[dev], emu.NoPASID, b.(*driver.Domain)))
}

func TestDomain_IDsRunOut(t *testing.T) {
	r := start(t, legacy, func(c *hw.Config) { c.ND = 0 })
	var all []host.Domain
	for range 14 {
		all = append(all, r.Domain(host.DomainSpec{}))
	}
	_, err := r.d.NewDomain(host.DomainSpec{})
	require.ErrorIs(t, err, host.ErrNoID)
	require.NoError(t, all[3].Free())
	require.Equal(t, uint32(5), r.Domain(host.DomainSpec{}).ID())
}

func TestDomain_Snoop(t *testing.T) {
	r := start(t)
	a := r.Domain(host.DomainSpec{Snoop: true})
	require.NoError(t, a.Map(0x10000, target, 0x1000, emu.RW))
	for m := range a.Tables().Leaves(0x10000, 0x10fff) {
		require.NotZero(t, m.Raw&(1<<11), "SNP")
	}
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, a))
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.NotZero(t, raw[1]&(1<<24), "PGSNP")
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	_, err := start(t, func(c *hw.Config) { c.SC = false }).d.NewDomain(host.DomainSpec{Snoop: true})
	require.ErrorIs(t, err, host.ErrUnsupported)
}
