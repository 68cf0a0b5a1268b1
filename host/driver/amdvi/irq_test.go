package amdvi

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

func narrow(c *hw.Config) { c.GASup, c.GAMSup, c.XTSup = false, false, false }

var irqVariants = []variant{
	{"128 bits, 32-bit destinations", nil, Options{IRQ: true}},
	{"128 bits, 8-bit destinations", nil, Options{IRQ: true, XAPIC: true}},
	{"32 bits", []func(*hw.Config){narrow}, Options{IRQ: true}},
	{"2048 interrupts", nil, Options{IRQ: true, IRQEntries: 2048}},
	{"few", nil, Options{IRQ: true, IRQEntries: 4}},
}

func TestIRQ_MapMoveUnmap(t *testing.T) {
	for _, v := range irqVariants {
		t.Run(v.name, func(t *testing.T) {
			r := machine(t, v.change...).up(v.opt)
			a, na := r.Handler()
			b, nb := r.Handler()
			require.Equal(t, emu.Blocked, r.Send(dev, a).Status, "blocked until it has a table")
			q, m, err := r.d.MapIRQ(dev, a)
			require.NoError(t, err)
			require.Zero(t, m.Data, "the index")
			r.Send(dev, m)
			require.Equal(t, []int{1, 0}, []int{*na, *nb})
			require.Equal(t, emu.Blocked, r.Send(dev+1, m).Status, "another device has no table")

			two, m2, err := r.d.MapIRQ(dev, a, b)
			require.NoError(t, err)
			require.EqualValues(t, 2, m2.Data, "aligned")
			m2.Data++
			r.Send(dev, m2)
			require.Equal(t, []int{1, 1}, []int{*na, *nb})
			require.NoError(t, r.d.MoveIRQ(two, 1, a))
			r.Send(dev, m2)
			require.Equal(t, []int{2, 1}, []int{*na, *nb})

			require.NoError(t, r.d.UnmapIRQ(q))
			require.Equal(t, emu.Blocked, r.Send(dev, m).Status)
			r.Send(dev, m2)
			require.Equal(t, 3, *na)
			require.ErrorIs(t, r.d.UnmapIRQ(q), host.ErrIRQ)
			require.ErrorIs(t, r.d.MoveIRQ(two, 2, a), host.ErrIRQ)
			require.True(t, r.Faults[len(r.Faults)-1].Interrupt)

			// DMA has nothing to do with it.
			require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
			r.Reaches(dev, emu.NoPASID, 0x10000, target)
			r.Send(dev, m2)
			require.Equal(t, 4, *na)
			require.NoError(t, r.d.Detach(dev, emu.NoPASID))
			r.Send(dev, m2)
			require.Equal(t, 5, *na)
		})
	}
}

// Entries as they are in memory, by hand from 2.2.5.
func TestIRQ_Entries(t *testing.T) {
	to := host.Message{Addr: emu.MSITo(0x1234_5678) | 1<<2, Data: 0x1a5} // lowest priority, logical
	small := host.Message{Addr: emu.MSITo(0x78), Data: 0xa5}
	for _, c := range []struct {
		v    variant
		to   host.Message
		want [2]uint64
	}{
		{irqVariants[0], to, [2]uint64{1 | 1<<2 | 1<<6 | 0x345678<<8, 0xa5 | 0x12<<56}},
		{irqVariants[0], small, [2]uint64{1 | 0x78<<8, 0xa5}},
		{irqVariants[1], small, [2]uint64{1 | 0x78<<8, 0xa5}},
		{irqVariants[2], small, [2]uint64{1 | 0x78<<8 | 0xa5<<16}},
	} {
		r := machine(t, c.v.change...).up(c.v.opt)
		_, _, err := r.d.MapIRQ(dev, c.to)
		require.NoError(t, err)
		base, n, size, ok := r.d.IRQTable(dev)
		require.True(t, ok)
		require.Equal(t, 512, n)
		got := [2]uint64{r.CPU.Load64(base), r.CPU.Load64(base + 8)}
		if size == 4 {
			got = [2]uint64{got[0] & 0xffff_ffff}
		}
		require.Equal(t, c.want, got, c.v.name)
		e := r.CPU.Load64(r.d.dteAt(dev) + 16)
		require.Equal(t, uint64(1|9<<1|2<<60)|uint64(base), e, "IV, 512 entries, table, remap")
	}
}

func TestIRQ_Errors(t *testing.T) {
	r := machine(t).up(Options{IRQ: true, XAPIC: true, IRQEntries: 4})
	ok, _ := r.Handler()
	for name, m := range map[string]host.Message{
		"wide destination": {Addr: emu.MSITo(0x100), Data: 0x40}, "no interrupt": {Addr: 0x1000, Data: 0x40},
		"NMI": {Addr: emu.MSITo(0), Data: 0x440}, "level": {Addr: emu.MSITo(0), Data: 0x8040}, "vector": {Addr: emu.MSITo(0), Data: 3},
		"reserved": {Addr: emu.MSITo(0), Data: 0x340},
	} {
		_, _, err := r.d.MapIRQ(dev, m)
		require.ErrorIs(t, err, host.ErrUnsupported, name)
	}
	_, _, err := r.d.MapIRQ(0x2000, ok)
	require.ErrorIs(t, err, host.ErrDevice)
	for _, n := range []int{0, 3, 64} {
		_, _, err = r.d.MapIRQ(dev, make([]host.Message, n)...)
		require.ErrorIs(t, err, host.ErrUnsupported)
	}
	_, _, err = r.d.MapIRQ(dev, ok, ok, ok, ok)
	require.NoError(t, err)
	_, _, err = r.d.MapIRQ(dev, ok)
	require.ErrorIs(t, err, host.ErrNoIRQ)
	_, _, err = start(t).d.MapIRQ(dev, ok)
	require.ErrorIs(t, err, host.ErrUnsupported, "remapping is off")
	for _, n := range []int{1, 3, 4096} {
		_, err := New(machine(t).CPU, r.Frames, Options{IRQ: true, IRQEntries: n})
		require.ErrorIs(t, err, host.ErrUnsupported)
	}
	m := machine(t, func(c *hw.Config) { c.NumIntRemap2K = false })
	_, err = New(m.CPU, m.Frames, Options{IRQ: true, IRQEntries: 1024})
	require.ErrorIs(t, err, host.ErrUnsupported)
	_, err = New(m.CPU, m.Frames, Options{GuestAPIC: true})
	require.ErrorIs(t, err, host.ErrUnsupported)
}

// Interrupts share the device table entry with DMA: neither side changes what is the other's.
func TestAMDQuirk14_DMAAndInterruptsShareTheEntry(t *testing.T) {
	r := machine(t).up(Options{IRQ: true})
	to, n := r.Handler()
	five := r.Domain(host.DomainSpec{Stage: host.StageFirst, Width: 50})
	require.NoError(t, five.Map(0x10000, target, 0x1000, emu.RW))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, five))
	_, before := r.d.EntryAt(dev, emu.NoPASID)
	require.EqualValues(t, 1, spec.DteGuestPagingMode.Get(before))
	q, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	_, after := r.d.EntryAt(dev, emu.NoPASID)
	require.Equal(t, before[:2], after[:2])
	require.EqualValues(t, 1, spec.DteGuestPagingMode.Get(after), "kept")
	r.Reaches(dev, emu.NoPASID, 0x10000, target)
	for _, w := range append(entry.Writers(), entry.Leak) {
		for _, dom := range []host.Domain{r.Mapped(0x10000, target+0x1000), five} {
			_, err := r.d.Replace(dev, emu.NoPASID, dom, w)
			require.NoError(t, err)
			_, raw := r.d.EntryAt(dev, emu.NoPASID)
			require.Equal(t, after[2]&^spec.DteGuestPagingMode.Mask(), raw[2]&^spec.DteGuestPagingMode.Mask())
			*n = 0
			r.Send(dev, m)
			require.Equal(t, 1, *n, w.Name())
		}
	}
	require.NoError(t, r.d.UnmapIRQ(q))
}

// IV=1 and IntCtl=0 block at boot, but what firmware lets pass.
func TestAMDQuirk02_InterruptsAreBlockedUntilSetUp(t *testing.T) {
	r := machine(t).up(Options{IRQ: true, Firmware: map[emu.SourceID]Firmware{dev: {NMIPass: true, SysMgt: 3}}})
	nmi := host.Message{Addr: emu.MSITo(0), Data: 0x400}
	require.Equal(t, emu.Blocked, r.Send(dev, nmi).Status)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{}))
	require.Equal(t, emu.Interrupt, r.Send(dev, nmi).Status, "firmware asks for it")
	to, n := r.Handler()
	_, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.Equal(t, emu.Interrupt, r.Send(dev, nmi).Status)
	r.Send(dev, m)
	require.Equal(t, 1, *n)
	_, raw := r.d.EntryAt(dev, emu.NoPASID)
	require.EqualValues(t, 3, spec.DteSysMgt.Get(raw))
	require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.Mapped(0x10000, target)))
	_, raw = r.d.EntryAt(dev, emu.NoPASID)
	require.EqualValues(t, 3, spec.DteSysMgt.Get(raw))
	require.True(t, spec.DteNMIPass.On(raw[2]))
}

// A posted interrupt sets a bit in the virtual APIC page, and tells of a virtual processor that does not
// run; one that runs gets a doorbell. RunIRQ changes that without an invalidation.
func TestIRQ_Posting(t *testing.T) {
	r := machine(t).up(Options{IRQ: true, GuestAPIC: true})
	page, err := r.Frames.Alloc(emu.PageShift)
	require.NoError(t, err)
	to, direct := r.Handler()
	q, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	var tags []uint32
	r.d.OnGuestIRQ(func(tag uint32, sid emu.SourceID) {
		require.Equal(t, dev, sid)
		tags = append(tags, tag)
	})
	doorbells := 0
	r.CPU.OnMSI = func(emu.PA, uint32) { doorbells++ }
	require.ErrorIs(t, r.d.RunIRQ(q, true, 0), host.ErrIRQ)
	require.NoError(t, r.d.PostIRQ(q, page, 0x41, 0xabcd))
	irr := func() uint64 { return r.CPU.Load64(page + 0x220) }
	require.Equal(t, emu.Posted, r.Send(dev, m).Status)
	require.NotZero(t, irr()&(1<<1), "vector 41h")
	require.Equal(t, []uint32{0xabcd}, tags)
	require.Zero(t, *direct)

	got := r.during(func() { require.NoError(t, r.d.RunIRQ(q, true, 3)) })
	require.Empty(t, got, "destination and IsRun are never cached")
	r.Send(dev, m)
	require.Equal(t, 1, doorbells)
	require.Len(t, tags, 1)
	require.NoError(t, r.d.RunIRQ(q, false, 0))
	r.Send(dev, m)
	require.Len(t, tags, 2)

	require.NoError(t, r.d.MoveIRQ(q, 0, to))
	r.Send(dev, m)
	require.Equal(t, 1, *direct)
	require.ErrorIs(t, r.d.PostIRQ(q, page+8, 0x41, 1), host.ErrUnsupported)
	require.ErrorIs(t, machine(t).up(Options{IRQ: true}).d.PostIRQ(q, page, 0x41, 1), host.ErrIRQ)
}

// The guest APIC log overflows and goes on.
func TestIRQ_PostingOverflow(t *testing.T) {
	r := machine(t).up(Options{IRQ: true, GuestAPIC: true})
	page, err := r.Frames.Alloc(emu.PageShift)
	require.NoError(t, err)
	to, _ := r.Handler()
	q, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.NoError(t, r.d.PostIRQ(q, page, 0x41, 7))
	n := 0
	r.d.OnGuestIRQ(func(uint32, emu.SourceID) { n++ })
	busy := r.d.k.Enter()
	for range 600 {
		r.Send(dev, m)
	}
	busy.Leave()
	require.Equal(t, 511, n)
	require.EqualValues(t, 1, r.d.Stats().LostGuestIRQs)
	r.Send(dev, m)
	require.Equal(t, 512, n)
}

// Aliases have the table too.
func TestIRQ_Aliases(t *testing.T) {
	r := machine(t).up(Options{IRQ: true, Firmware: map[emu.SourceID]Firmware{dev: {Aliases: []emu.SourceID{0x400}}}})
	to, n := r.Handler()
	_, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	r.Send(0x400, m)
	require.Equal(t, 1, *n)
}
