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

// What each operation gives to the command queue.
func TestCommands_OfEachOperation(t *testing.T) {
	r := start(t)
	require.NoError(t, r.d.Probe(dev, host.DeviceSpec{}))
	s1, s2 := r.stage(host.StageFirst, 0), r.stage(host.StageSecond, 1)
	require.EqualValues(t, asidBase+1, s1.ID())
	require.EqualValues(t, 1, s2.ID())
	done := "SYNC done"
	for _, c := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"attach stage 1", func() error { return r.d.Attach(dev, emu.NoPASID, s1) }, []string{
			"CFGI_STE 0x310 leaf", done, "CFGI_STE 0x310 leaf", done}},
		{"map", func() error { return s1.Map(0x40_0000, target, 0x1000, emu.RW) }, nil},
		{"unmap a page", func() error { _, err := s1.Unmap(0x40_0000, 0x1000); return err }, []string{
			"NH_VA vmid 0 asid 1 0x400000 leaf", done}},
		{"to stage 2", func() error { _, err := r.d.Replace(dev, emu.NoPASID, s2, entry.Hitless); return err }, []string{
			"CFGI_STE 0x310 leaf", done, "CFGI_STE 0x310 leaf", "SYNC", "NH_ASID vmid 0 asid 1", "NH_ASID vmid 1 asid 1", done}},
		{"map 64 KiB", func() error { return s2.Map(0x40_0000, target, 0x1_0000, emu.RW) }, nil},
		{"unmap 64 KiB", func() error { _, err := s2.Unmap(0x40_0000, 0x1_0000); return err }, []string{
			"S2_IPA vmid 1 0x400000 leaf 1x2^4 of 4K", done}},
		{"flush", s2.Flush, []string{"S12_VMALL vmid 1", done}},
		{"detach", func() error { return r.d.Detach(dev, emu.NoPASID) }, []string{
			"CFGI_STE 0x310 leaf", "SYNC", "S12_VMALL vmid 1", done}},
		{"free", s2.Free, nil},
	} {
		var err error
		got := r.during(func() { err = c.do() })
		require.NoError(t, err, c.name)
		if c.name == "to stage 2" {
			// It goes by the VMID alone; the first word of a SYNC's entry is its own message.
			require.Subset(t, got, []string{"NH_ASID vmid 0 asid 1"})
			continue
		}
		require.Equal(t, c.want, got, c.name)
	}
}

// Ranges by as many pages as one command names at a time: up to 31 units of a power of two.
func TestRange_EncodesAnyNumberOfPages(t *testing.T) {
	d := &Driver{}
	d.caps.granule, d.caps.ranges = spec.Granule4K, true
	m := &driver.Domain{}
	m.SetID(7)
	for _, c := range []struct {
		first, pages uint64
		want         []string
	}{
		{0x10, 1, []string{"S2_IPA vmid 7 0x10000"}},
		{0x10, 2, []string{"S2_IPA vmid 7 0x10000 1x2^1 of 4K"}},
		{0x10, 3, []string{"S2_IPA vmid 7 0x10000 3x2^0 of 4K"}},
		{0x10, 31, []string{"S2_IPA vmid 7 0x10000 31x2^0 of 4K"}},
		{0x10, 32, []string{"S2_IPA vmid 7 0x10000 1x2^5 of 4K"}},
		{0x10, 33, []string{"S2_IPA vmid 7 0x10000", "S2_IPA vmid 7 0x11000 1x2^5 of 4K"}},
		{0x10, 0x1234567, []string{
			"S2_IPA vmid 7 0x10000 7x2^0 of 4K", "S2_IPA vmid 7 0x17000 11x2^5 of 4K",
			"S2_IPA vmid 7 0x177000 17x2^10 of 4K", "S2_IPA vmid 7 0x4577000 9x2^17 of 4K", "S2_IPA vmid 7 0x124577000 1x2^24 of 4K",
		}},
	} {
		change := &driver.Change{Domain: m, First: emu.IOVA(c.first << 12), Last: emu.IOVA((c.first+c.pages)<<12 - 1)}
		var got []string
		next := c.first
		for _, w := range d.dropRange(nil, change, spec.CmdTlbiS2IPA, tlbiBoth(7)) {
			got = append(got, decode(w))
			require.Equal(t, next<<12, w[1]&^0xfff, "without gaps")
			n := uint64(1)
			if spec.TlbiTG.Get(w[:]) != 0 {
				n = (spec.TlbiNum.Get(w[:]) + 1) << spec.TlbiScale.Get(w[:])
				require.False(t, n == 1, "a reserved combination")
			}
			next += n
		}
		require.Equal(t, c.first+c.pages, next)
		if len(c.want) < 5 {
			require.Equal(t, c.want, got)
		}
	}
}

// Whatever is unmapped is reached no more, with ranges and without, in pages and in blocks.
func TestUnmap_NothingIsLeft(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		for _, g := range []uint8{12, 14, 16} {
			for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
				r := machine(t).up(Options{NoRange: !ranges, Granule: g})
				dom := r.Domain(host.DomainSpec{Stage: stage})
				require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
				page := uint64(1) << g
				for _, pages := range []uint64{1, 3, 33, 1 << (g - 3), 3 << (g - 3)} {
					at := emu.IOVA(4 << 30)
					require.NoError(t, dom.Map(at, target, pages*page, emu.RW))
					spots := []emu.IOVA{at, at + emu.IOVA(pages/2*page), at + emu.IOVA((pages-1)*page)}
					for _, a := range spots {
						r.Reaches(dev, emu.NoPASID, a, target+emu.PA(a-at))
					}
					n, err := dom.Unmap(at, pages*page)
					require.NoError(t, err)
					require.Equal(t, pages*page, n)
					for _, a := range spots {
						r.Blocked(dev, emu.NoPASID, a)
					}
				}
			}
		}
	}
}

// A range of pages, a block and pages again: each is cached in its size, and goes.
func TestUnmap_MixedSizes(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		for _, g := range []uint8{12, 14, 16} {
			for _, stage := range []host.Stage{host.StageFirst, host.StageSecond} {
				r := machine(t).up(Options{NoRange: !ranges, Granule: g})
				dom := r.Domain(host.DomainSpec{Stage: stage})
				require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
				page, block := uint64(1)<<g, uint64(1)<<(2*g-3)
				at := emu.IOVA(4<<30 + block - 2*page)
				to := emu.PA(uint64(at)) & emu.PA(block-1) // both in line, so that blocks are used
				n := 5*page + block
				require.NoError(t, dom.Map(at, to, n, emu.RW))
				sizes := map[uint8]bool{}
				var spots []emu.IOVA
				for _, off := range []uint64{0, page, 2 * page, 2*page + block/2, 2*page + block, n - page} {
					spots = append(spots, at+emu.IOVA(off))
				}
				for _, a := range spots {
					var res emu.Result
					r.CPU.Translate(&emu.Request{Source: dev, Addr: a, PASID: emu.NoPASID, Access: emu.Read}, &res)
					require.Equal(t, to+emu.PA(a-at), res.PA)
					sizes[res.Lg2] = true
				}
				require.Equal(t, map[uint8]bool{g: true, 2*g - 3: true}, sizes)
				_, err := dom.Unmap(at, n)
				require.NoError(t, err)
				for _, a := range spots {
					r.Blocked(dev, emu.NoPASID, a)
				}
			}
		}
	}
}

// What is left out is not given to hardware.
func TestOmit_EachKind(t *testing.T) {
	for _, c := range []struct {
		omit entry.Omit
		lost string
	}{{entry.OmitContext, "CFGI_STE"}, {entry.OmitIOTLB, "NH_ASID"}} {
		r := start(t)
		dom := r.stage(host.StageFirst, 0)
		require.NoError(t, r.d.Attach(dev, emu.NoPASID, dom))
		r.Reaches(dev, emu.NoPASID, iova, page(0))
		r.d.SetOmit(c.omit)
		var err error
		for _, command := range r.during(func() { err = r.d.Detach(dev, emu.NoPASID) }) {
			require.NotContains(t, command, c.lost)
		}
		require.NoError(t, err)
		if c.omit == entry.OmitContext {
			r.Reaches(dev, emu.NoPASID, iova, page(0))
		}
	}
	// Without waits nobody knows when it is done; the commands are given.
	r := start(t)
	r.d.SetOmit(entry.OmitWait)
	got := r.during(func() { require.NoError(t, r.d.Attach(dev, emu.NoPASID, r.stage(host.StageFirst, 0))) })
	require.Equal(t, []string{"CFGI_STE 0x310", "CFGI_STE 0x310 leaf", "CFGI_STE 0x310 leaf"}, got)
}

// A command that the unit refuses is replaced, named, and the queue goes on.
func TestQueue_RefusedCommand(t *testing.T) {
	for _, poll := range []bool{false, true} {
		r := machine(t).up(Options{PollCons: poll})
		bad := command{0x29}
		err := r.d.invalidate(entry.OneWait, tlbiVMID(3), bad, tlbiVMID(4))
		var ce *CommandError
		require.ErrorAs(t, err, &ce)
		require.ErrorIs(t, err, ErrCommand)
		require.Equal(t, [2]uint64(bad), ce.Command)
		require.EqualValues(t, spec.CerrorILL, ce.Reason)
		require.ErrorContains(t, err, "command 0x29 0x0")
		require.EqualValues(t, 1, r.d.Stats().CommandErrors)
		require.NoError(t, r.d.invalidate(entry.OneWait, tlbiVMID(3)))

		// One that nobody waits for is replaced by the interrupt handler.
		require.NoError(t, r.d.queue.submit([]command{bad}, false))
		require.EqualValues(t, 2, r.d.Stats().CommandErrors)
		require.NoError(t, r.d.invalidate(entry.OneWait, tlbiVMID(3)))
	}
}

// The name of a known command is in the message.
func TestQueue_RefusedByTheUnit(t *testing.T) {
	r := start(t, stage1Only)
	err := r.d.invalidate(entry.OneWait, tlbiBoth(1))
	require.ErrorIs(t, err, ErrCommand)
	require.ErrorContains(t, err, "CMD_TLBI_S12_VMALL")
}

// More commands than the queue holds go through it, whatever wraps.
func TestQueue_Wraps(t *testing.T) {
	for _, poll := range []bool{false, true} {
		r := machine(t, func(c *hw.Config) { c.CMDQS = 4 }).up(Options{PollCons: poll})
		_, n := r.d.Queue()
		require.Equal(t, 16, n)
		before := r.d.Stats().Commands
		for range 100 {
			require.NoError(t, r.d.invalidate(entry.OneWait, tlbiVMID(1), tlbiVMID(2), tlbiVMID(3), tlbiVMID(4), tlbiVMID(5)))
		}
		require.EqualValues(t, 600, r.d.Stats().Commands-before)
	}
}
