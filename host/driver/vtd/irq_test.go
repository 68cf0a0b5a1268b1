package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/internal/drivertest"
)

func withIRQs(t drivertest.Tester, change ...func(*hw.Config)) *rig {
	return machine(t, change...).up(Options{IRQ: true, IRQEntries: 64})
}

func TestIRQ_SetUpSequence(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(*hw.Config)
		opt      Options
		irta     uint64 // low 12 bits
		entries  int
		iecBatch []string
	}{
		{"as Linux", scalable, Options{IRQ: true}, 0x80f, 65536, []string{"interrupts g0 index 0 im 0", "wait"}},
		{"small", scalable, Options{IRQ: true, IRQEntries: 2}, 0x800, 2, []string{"interrupts g0 index 0 im 0", "wait"}},
		{"8-bit destinations", scalable, Options{IRQ: true, IRQEntries: 256, XAPIC: true}, 7, 256, []string{"interrupts g0 index 0 im 0", "wait"}},
		{"without EIM", func(c *hw.Config) { c.EIM = false }, Options{IRQ: true}, 0xf, 65536, []string{"interrupts g0 index 0 im 0", "wait"}},
		{"ESIRTPS", func(c *hw.Config) { c.ESIRTPS = true }, Options{IRQ: true}, 0x80f, 65536, nil},
		{"legacy", legacy, Options{IRQ: true}, 0x80f, 65536, []string{"interrupts g0 index 0 im 0", "wait"}},
		{"scalable unit in legacy mode", scalable, Options{IRQ: true, Mode: ModeLegacy}, 0x80f, 65536, []string{"interrupts g0 index 0 im 0", "wait"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := machine(t, c.change)
			r.cpu.Functional.WriteReg(0, spec.OffGCMD, 4, spec.GcmdCFI.Mask()) // firmware let compatibility format pass
			r.up(c.opt)
			base, n, ok := r.d.IRQTable()
			require.True(t, ok)
			require.Equal(t, c.entries, n)
			require.Zero(t, base%emu.PA(max(n*16, 4096)), "aligned to its size")
			require.Equal(t, uint64(base)|c.irta, r.cpu.Functional.ReadReg(0, spec.OffIRTA, 8))
			require.Equal(t, spec.GstsIRES.Mask(), r.cpu.Functional.ReadReg(0, spec.OffGSTS, 4)&(spec.GstsIRES.Mask()|spec.GstsCFIS.Mask()))

			order := map[string]int{}
			for i, w := range r.cpu.Writes {
				switch {
				case w.Off == spec.OffIRTA:
					order["IRTA"] = i
				case w.Off != spec.OffGCMD:
				case w.V&(1<<24) != 0:
					order["SIRTP"] = i
				case w.V&(1<<25) != 0 && order["IRE"] == 0:
					order["IRE"] = i
					require.NotZero(t, w.V&(1<<23), "one bit changes at a time")
				case w.V&(1<<23) == 0 && order["IRE"] != 0 && order["CFI"] == 0:
					order["CFI"] = i
				case w.V&(1<<31) != 0:
					order["TE"] = i
				}
			}
			require.Less(t, order["IRTA"], order["SIRTP"])
			require.Less(t, order["SIRTP"], order["IRE"])
			require.Less(t, order["IRE"], order["CFI"])
			require.Less(t, order["CFI"], order["TE"])

			qbase, size, _, _ := r.d.Queue()
			var batch []string
			for i := 0; ; i++ {
				at := qbase + emu.PA(i*size)
				w := decode([2]uint64{r.cpu.Load64(at), r.cpu.Load64(at + 8)})
				if w == "?0x0 0x0" {
					break
				}
				if len(batch) > 0 || w == "interrupts g0 index 0 im 0" {
					batch = append(batch, w)
				}
			}
			require.Equal(t, c.iecBatch, batch)
		})
	}
}

func TestIRQ_SetUpRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*hw.Config)
		opt    Options
	}{
		"a unit without":       {func(c *hw.Config) { c.IR, c.EIM, c.PI, c.MHMV = false, false, false, 0 }, Options{IRQ: true}},
		"extended mode only":   {func(c *hw.Config) { c.EIMER = true }, Options{IRQ: true, XAPIC: true}},
		"a unit without queue": {func(c *hw.Config) { legacy(c); noQueue(c) }, Options{IRQ: true}},
		"a queue not used":     {legacy, Options{IRQ: true, NoQueue: true}},
		"one entry":            {scalable, Options{IRQ: true, IRQEntries: 1}},
		"no power of two":      {scalable, Options{IRQ: true, IRQEntries: 48}},
		"too many":             {scalable, Options{IRQ: true, IRQEntries: 1 << 17}},
		"negative":             {scalable, Options{IRQ: true, IRQEntries: -2}},
	} {
		m := machine(t, c.change)
		_, err := New(m.cpu, m.frames, c.opt)
		require.ErrorIs(t, err, host.ErrUnsupported, name)
	}
	for name, want := range map[reg.Bits]string{spec.GstsIRTPS: "GCMD.SIRTP", spec.GstsIRES: "GCMD.IRE"} {
		m := machine(t)
		m.cpu.Fake = func(off uint32, v uint64) uint64 {
			if off == spec.OffGSTS {
				v &^= name.Mask()
			}
			return v
		}
		_, err := New(m.cpu, m.frames, Options{IRQ: true})
		require.ErrorIs(t, err, host.ErrTimeout)
		require.ErrorContains(t, err, want)
	}
	m := machine(t)
	small, err := host.NewFrames(m.cpu, drivertest.RAMBase, 1<<19)
	require.NoError(t, err)
	_, err = New(m.cpu, small, Options{IRQ: true})
	require.ErrorIs(t, err, host.ErrNoFrames)
}

func TestIRQ_MapMoveUnmap(t *testing.T) {
	for _, v := range variants {
		r := machine(t, v.change...)
		if c := r.unit.Config(); !c.IR || v.opt.NoQueue {
			continue
		}
		t.Run(v.name, func(t *testing.T) {
			opt := v.opt
			opt.IRQ, opt.IRQEntries = true, 64
			r.up(opt)
			a, na := r.Handler()
			b, nb := r.Handler()
			q, m, err := r.d.MapIRQ(dev, a)
			require.NoError(t, err)
			require.Equal(t, emu.PA(0xfee0_0018), m.Addr, "remappable format with subhandle, entry 0")
			require.Zero(t, m.Data)
			r.Send(dev, m)
			r.Send(dev, m)
			require.Equal(t, []int{2, 0}, []int{*na, *nb})

			require.Equal(t, emu.Blocked, r.Send(dev+1, m).Status, "another device")
			require.Equal(t, emu.Blocked, r.Send(dev, a).Status, "compatibility format")
			require.Equal(t, []host.FaultRecord{
				{Reason: 0x26, Source: dev + 1, PASID: emu.NoPASID, Interrupt: true},
				{Reason: 0x25, Source: dev, PASID: emu.NoPASID, Interrupt: true},
			}, r.Faults)

			require.NoError(t, r.d.MoveIRQ(q, 0, b))
			r.Send(dev, m)
			require.Equal(t, []int{2, 1}, []int{*na, *nb})

			// A second one does not disturb the first, and is not what a device gets that guesses.
			q2, m2, err := r.d.MapIRQ(dev+8, a)
			require.NoError(t, err)
			require.NotEqual(t, m.Addr, m2.Addr)
			require.Equal(t, emu.Blocked, r.Send(dev, m2).Status)
			r.Send(dev+8, m2)
			r.Send(dev, m)
			require.Equal(t, []int{3, 2}, []int{*na, *nb})

			require.NoError(t, r.d.UnmapIRQ(q))
			require.Equal(t, emu.Blocked, r.Send(dev, m).Status)
			require.ErrorIs(t, r.d.UnmapIRQ(q), host.ErrIRQ)
			require.ErrorIs(t, r.d.MoveIRQ(q, 0, a), host.ErrIRQ)
			r.Send(dev+8, m2)
			require.NoError(t, r.d.UnmapIRQ(q2))
			require.Equal(t, []int{4, 2}, []int{*na, *nb})

			base, entries, _ := r.d.IRQTable()
			for at := base; at < base+emu.PA(entries*16) && !r.unit.Config().C; at += 64 {
				require.False(t, r.cpu.Dirty[at], "written back for a unit that does not snoop")
			}
			require.NoError(t, r.d.Shutdown())
			r.Send(dev, a)
			require.Equal(t, []int{5, 2}, []int{*na, *nb}, "compatibility format passes again")
		})
	}
}

// The values are put together by hand from 9.9 and 5.1.2.
func TestIRQ_EntryOfAMessage(t *testing.T) {
	for _, c := range []struct {
		name  string
		xapic bool
		m     host.Message
		want  [2]uint64 // zero: ErrUnsupported
	}{
		{"fixed", false, host.Message{Addr: 0xfee0_3000, Data: 0x41}, [2]uint64{0x0000_0003_0041_0001, 0x4_0108}},
		{"8-bit destination", true, host.Message{Addr: 0xfeea_b000, Data: 0x41}, [2]uint64{0x0000_ab00_0041_0001, 0x4_0108}},
		{"32-bit destination", false, host.Message{Addr: 0x1234_5600_fee7_8000, Data: 0x41}, [2]uint64{0x1234_5678_0041_0001, 0x4_0108}},
		{"32-bit destination without", true, host.Message{Addr: 0x1234_5600_fee7_8000, Data: 0x41}, [2]uint64{}},
		{"hint and logical", false, host.Message{Addr: 0xfee0_300c, Data: 0x41}, [2]uint64{0x0000_0003_0041_000d, 0x4_0108}},
		{"level, lowest priority", false, host.Message{Addr: 0xfee0_3000, Data: 0xc141}, [2]uint64{0x0000_0003_0041_0031, 0x4_0108}},
		{"NMI", false, host.Message{Addr: 0xfee0_3000, Data: 0x400}, [2]uint64{0x0000_0003_0000_0081, 0x4_0108}},
		{"vector 15", false, host.Message{Addr: 0xfee0_3000, Data: 15}, [2]uint64{}},
		{"reserved delivery mode", false, host.Message{Addr: 0xfee0_3000, Data: 0x341}, [2]uint64{}},
		{"reserved data bits", false, host.Message{Addr: 0xfee0_3000, Data: 0x1_0041}, [2]uint64{}},
		{"remappable format", false, host.Message{Addr: 0xfee0_3010, Data: 0x41}, [2]uint64{}},
		{"no interrupt", false, host.Message{Addr: 0x8000_0000, Data: 0x41}, [2]uint64{}},
		{"reserved upper bits", false, host.Message{Addr: 0x1_fee0_3000, Data: 0x41}, [2]uint64{}},
	} {
		r := machine(t).up(Options{IRQ: true, IRQEntries: 4, XAPIC: c.xapic})
		_, _, err := r.d.MapIRQ(dev, c.m)
		base, _, _ := r.d.IRQTable()
		got := [2]uint64{r.cpu.Load64(base), r.cpu.Load64(base + 8)}
		require.Equal(t, c.want, got, "%s: %#x %#x", c.name, got[0], got[1])
		if c.want == [2]uint64{} {
			require.ErrorIs(t, err, host.ErrUnsupported, c.name)
			continue
		}
		require.NoError(t, err, c.name)
	}
}

func TestIRQ_Blocks(t *testing.T) {
	for _, mhmv := range []uint8{15, 1} {
		r := withIRQs(t, func(c *hw.Config) { c.MHMV = mhmv })
		one, n1 := r.Handler()
		_, _, err := r.d.MapIRQ(dev, one)
		require.NoError(t, err)
		var to []host.Message
		var count []*int
		for range 8 {
			m, n := r.Handler()
			to, count = append(to, m), append(count, n)
		}
		var q host.IRQ
		var m host.Message
		got := r.during(func() { q, m, err = r.d.MapIRQ(dev+1, to...) })
		require.NoError(t, err)
		if mhmv == 15 {
			require.Equal(t, []string{"interrupts g1 index 8 im 3", "wait"}, got)
		} else {
			require.Len(t, got, 9)
			require.Equal(t, "interrupts g1 index 15 im 0", got[7])
		}
		require.Equal(t, host.Message{Addr: 0xfee0_0018 | 8<<5}, m)
		for i := range uint32(8) {
			for range i {
				r.Send(dev+1, host.Message{Addr: m.Addr, Data: m.Data + i})
			}
		}
		for i, n := range count {
			require.Equal(t, i, *n)
		}
		require.NoError(t, r.d.MoveIRQ(q, 5, one))
		r.Send(dev+1, host.Message{Addr: m.Addr, Data: m.Data + 5})
		require.Equal(t, 1, *n1)
		require.Equal(t, 5, *count[5])
		require.ErrorIs(t, r.d.MoveIRQ(q, 8, one), host.ErrIRQ)
		require.ErrorIs(t, r.d.MoveIRQ(q, -1, one), host.ErrIRQ)
		require.ErrorIs(t, r.d.UnmapIRQ(q+1), host.ErrIRQ, "not a block")
		require.NoError(t, r.d.UnmapIRQ(q))
		for i := range uint32(8) {
			require.Equal(t, emu.Blocked, r.Send(dev+1, host.Message{Addr: m.Addr, Data: m.Data + i}).Status)
		}
	}
}

func TestIRQ_EntriesAreGivenOutLowestFirstAndAligned(t *testing.T) {
	r := withIRQs(t)
	to, _ := r.Handler()
	block := func(n int) (host.IRQ, error) {
		list := make([]host.Message, n)
		for i := range list {
			list[i] = to
		}
		q, _, err := r.d.MapIRQ(dev, list...)
		return q, err
	}
	for _, c := range []struct {
		n    int
		want host.IRQ
	}{{1, 0}, {4, 4}, {2, 2}, {1, 1}, {32, 32}, {16, 16}, {1, 8}, {2, 10}, {4, 12}, {1, 9}} {
		q, err := block(c.n)
		require.NoError(t, err)
		require.Equal(t, c.want, q)
	}
	_, err := block(1)
	require.ErrorIs(t, err, host.ErrNoIRQ)
	require.NoError(t, r.d.UnmapIRQ(2))
	require.NoError(t, r.d.UnmapIRQ(9))
	_, err = block(4)
	require.ErrorIs(t, err, host.ErrNoIRQ)
	q, err := block(2)
	require.NoError(t, err)
	require.EqualValues(t, 2, q)
	q, err = block(1)
	require.NoError(t, err)
	require.EqualValues(t, 9, q)
	for _, n := range []int{0, 3, 33, 64} {
		_, err = block(n)
		require.ErrorIs(t, err, host.ErrUnsupported)
	}
	_, _, err = r.d.MapIRQ(0x1_0000, to)
	require.ErrorIs(t, err, host.ErrDevice)
	_, _, err = start(t).d.MapIRQ(dev, to)
	require.ErrorIs(t, err, host.ErrUnsupported)
}

func TestIRQ_LastEntryOfTheLargestTable(t *testing.T) {
	r := machine(t).up(Options{IRQ: true})
	to, n := r.Handler()
	r.d.irq.slots.Mark(0, 0xffff)
	_, m, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.Equal(t, emu.PA(0xfeef_fffc), m.Addr)
	r.Send(dev, m)
	require.Equal(t, 1, *n)
}

func TestIRQ_Posting(t *testing.T) {
	for _, xapic := range []bool{false, true} {
		r := machine(t).up(Options{IRQ: true, IRQEntries: 4, XAPIC: xapic})
		pid, err := r.frames.Alloc(emu.PageShift)
		require.NoError(t, err)
		pid += 0x40
		to, direct := r.Handler()
		notify, notified := r.Handler()
		q, m, err := r.d.MapIRQ(dev, to)
		require.NoError(t, err)
		w, err := r.d.Notification(notify)
		require.NoError(t, err)
		r.cpu.Store64(pid+32, w)
		require.NoError(t, r.d.PostIRQ(q, 0, pid, 0x91, false))
		require.Equal(t, emu.Interrupt, r.Send(dev, m).Status)
		require.EqualValues(t, 1<<(0x91-128), r.cpu.Load64(pid+16))
		require.Equal(t, w|1, r.cpu.Load64(pid+32), "outstanding")
		require.Equal(t, emu.Posted, r.Send(dev, m).Status)
		require.Equal(t, []int{0, 1}, []int{*direct, *notified})
		require.Equal(t, emu.Blocked, r.Send(dev+1, m).Status)

		r.cpu.Store64(pid+32, w|2) // suppressed
		require.Equal(t, emu.Posted, r.Send(dev, m).Status)
		require.NoError(t, r.d.PostIRQ(q, 0, pid, 0x92, true))
		require.Equal(t, emu.Interrupt, r.Send(dev, m).Status)
		require.Equal(t, []int{0, 2}, []int{*direct, *notified})

		require.NoError(t, r.d.MoveIRQ(q, 0, to))
		r.Send(dev, m)
		require.Equal(t, []int{1, 2}, []int{*direct, *notified})

		require.ErrorIs(t, r.d.PostIRQ(q, 0, pid+8, 0x91, false), host.ErrUnsupported)
		require.ErrorIs(t, r.d.PostIRQ(q, 0, 1<<48, 0x91, false), host.ErrUnsupported)
		require.ErrorIs(t, r.d.PostIRQ(q, 1, pid, 0x91, false), host.ErrIRQ)
		for _, bad := range []host.Message{{Addr: 0xfee0_0004, Data: 0x41}, {Addr: 0xfee0_0000, Data: 0x141}, {Addr: 0xfee0_0000, Data: 3}, {Addr: 0x1000, Data: 0x41}} {
			_, err := r.d.Notification(bad)
			require.ErrorIs(t, err, host.ErrUnsupported)
		}
		far, err := r.d.Notification(host.Message{Addr: emu.MSITo(0x1234), Data: 0x41})
		if xapic {
			require.ErrorIs(t, err, host.ErrUnsupported)
		} else {
			require.EqualValues(t, 0x0000_1234_0041_0000, far)
		}
	}
	r := withIRQs(t, func(c *hw.Config) { c.PI = false })
	to, _ := r.Handler()
	q, _, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.ErrorIs(t, r.d.PostIRQ(q, 0, drivertest.RAMBase, 0x91, false), host.ErrUnsupported)
	_, err = start(t).d.Notification(to)
	require.ErrorIs(t, err, host.ErrUnsupported)
}

// A driver that finds interrupt remapping on, in another mode and with another table, does not go by
// it.
func TestIRQ_SecondDriverTakesTheUnitDown(t *testing.T) {
	for _, again := range []bool{false, true} {
		r := withIRQs(t)
		to, n := r.Handler()
		_, old, err := r.d.MapIRQ(dev, to)
		require.NoError(t, err)
		r.Send(dev, old) // cached
		require.Equal(t, 1, *n)
		r.up(Options{Mode: ModeLegacy, IRQ: again, IRQEntries: 16})
		if !again {
			require.Zero(t, r.cpu.Functional.ReadReg(0, spec.OffGSTS, 4)&spec.GstsIRES.Mask())
			r.Send(dev, to)
			require.Equal(t, 2, *n)
			continue
		}
		require.Equal(t, emu.Blocked, r.Send(dev, old).Status)
		_, m, err := r.d.MapIRQ(dev, to)
		require.NoError(t, err)
		r.Send(dev, m)
		require.Equal(t, 2, *n)
	}
}

// A forgotten invalidation has a visible victim.
func TestIRQ_WithoutInvalidationTheOldEntryStays(t *testing.T) {
	r := withIRQs(t)
	a, na := r.Handler()
	b, nb := r.Handler()
	q, m, err := r.d.MapIRQ(dev, a)
	require.NoError(t, err)
	r.Send(dev, m)
	r.d.SetOmit(entry.OmitInterrupt)
	require.NoError(t, r.d.MoveIRQ(q, 0, b))
	r.Send(dev, m)
	require.Equal(t, []int{2, 0}, []int{*na, *nb}, "stale")
	r.d.SetOmit(0)
	require.NoError(t, r.d.MoveIRQ(q, 0, b))
	r.Send(dev, m)
	require.Equal(t, []int{2, 1}, []int{*na, *nb})
}

// After a time-out nobody knows what hardware holds: the entries are not given out again.
func TestIRQ_Timeouts(t *testing.T) {
	r := withIRQs(t)
	to, _ := r.Handler()
	q, _, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	r.cpu.Drop[spec.OffIQT] = true
	require.ErrorIs(t, r.d.UnmapIRQ(q), host.ErrTimeout)
	_, _, err = r.d.MapIRQ(dev, to)
	require.ErrorIs(t, err, host.ErrTimeout)
	require.ErrorIs(t, r.d.MoveIRQ(q, 0, to), host.ErrTimeout)
	r.cpu.Drop[spec.OffIQT] = false
	q3, _, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.EqualValues(t, 2, q3)
	require.NoError(t, r.d.UnmapIRQ(q), "again")
	q4, _, err := r.d.MapIRQ(dev, to)
	require.NoError(t, err)
	require.Equal(t, q, q4)
}
