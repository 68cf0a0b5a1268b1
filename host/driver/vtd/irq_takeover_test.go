package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
)

// A device keeps the message that it was given, over the change of table and driver.
func TestTakeOver_InterruptsGoOn(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  Options
		unit func(*hw.Config)
	}{
		{"extended", Options{}, scalable},
		{"8-bit destinations", Options{XAPIC: true}, scalable},
		{"legacy", Options{}, legacy},
		{"ESIRTPS", Options{}, func(c *hw.Config) { c.ESIRTPS = true }},
		{"non-coherent", Options{}, func(c *hw.Config) { c.C, c.SMPWCS = false, false }},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt := c.opt
			opt.IRQ, opt.IRQEntries = true, 64
			a := machine(t, c.unit).up(opt)
			to, n := a.Handler()
			pid, err := a.frames.Alloc(emu.PageShift)
			require.NoError(t, err)
			var msgs []host.Message
			for i := range emu.SourceID(4) {
				q, m, err := a.d.MapIRQ(dev+i, to)
				require.NoError(t, err)
				msgs = append(msgs, m)
				if i == 3 {
					a.cpu.Store64(pid+32, 2)
					require.NoError(t, a.d.PostIRQ(q, 0, pid, 0x41, false))
				}
			}
			all := func(r *rig, want ...emu.Status) {
				t.Helper()
				for i, m := range msgs {
					require.Equal(t, want[i], r.Send(dev+emu.SourceID(i), m).Status, "interrupt %d", i)
				}
			}
			all(a, emu.Interrupt, emu.Interrupt, emu.Interrupt, emu.Posted)
			old, _, _ := a.d.IRQTable()

			opt.IRQEntries = 16
			b := a.kexec(opt)
			for _, w := range b.cpu.Writes {
				if w.Off == spec.OffGCMD {
					require.NotZero(t, w.V&spec.GcmdIRE.Mask(), "IRE stays on")
				}
			}
			table, entries, ok := b.d.IRQTable()
			require.True(t, ok)
			require.NotEqual(t, old, table)
			require.Equal(t, 16, entries)
			b.cpu.Zero(old, 4096) // nobody reads it any more
			all(b, emu.Interrupt, emu.Interrupt, emu.Interrupt, emu.Posted)
			require.Equal(t, 6, *n)
			require.Equal(t, []host.IRQ{0, 1, 2, 3}, b.d.InheritedIRQs())

			_, m, err := b.d.MapIRQ(dev+9, to)
			require.NoError(t, err)
			require.NotContains(t, msgs, m)
			other, moved := b.Handler()
			require.NoError(t, b.d.MoveIRQ(1, 0, other))
			require.NoError(t, b.d.PostIRQ(3, 0, pid, 0x42, false))
			all(b, emu.Interrupt, emu.Interrupt, emu.Interrupt, emu.Posted)
			require.Equal(t, []int{8, 1}, []int{*n, *moved})
			require.Equal(t, emu.Blocked, b.Send(dev, msgs[1]).Status, "an entry is for its source still")
			require.NoError(t, b.d.UnmapIRQ(2))
			require.Equal(t, []host.IRQ{0}, b.d.InheritedIRQs())

			require.NoError(t, b.d.Finish())
			all(b, emu.Blocked, emu.Interrupt, emu.Blocked, emu.Posted)
			require.Empty(t, b.d.InheritedIRQs())
			q, m, err := b.d.MapIRQ(dev, to)
			require.NoError(t, err)
			require.Zero(t, q)
			b.Send(dev, m)
			require.Equal(t, []int{9, 2}, []int{*n, *moved})
		})
	}
}

func TestTakeOver_InterruptsThatCannotBeTakenOver(t *testing.T) {
	for name, c := range map[string]struct {
		old, new Options
		entries  int // that are in use
	}{
		"nobody asked for it": {Options{IRQ: true}, Options{}, 0},
		"extended mode":       {Options{IRQ: true}, Options{IRQ: true, XAPIC: true}, 1},
		"has an entry 8":      {Options{IRQ: true}, Options{IRQ: true, IRQEntries: 8}, 9},
	} {
		a := machine(t).up(c.old)
		to, n := a.Handler()
		var msg host.Message
		for range c.entries {
			var err error
			_, msg, err = a.d.MapIRQ(dev, to)
			require.NoError(t, err)
		}
		root := a.cpu.Functional.ReadReg(0, spec.OffRTADDR, 8)
		frames, err := host.NewFrames(a.cpu, drivertest.RAMBase+4*drivertest.RAMSize, drivertest.RAMSize)
		require.NoError(t, err)
		c.new.TakeOver = true
		_, err = New(a.cpu, frames, c.new)
		require.ErrorIs(t, err, ErrTakeOver, name)
		require.Equal(t, root, a.cpu.Functional.ReadReg(0, spec.OffRTADDR, 8), "nothing has happened yet")
		if c.entries > 0 {
			require.ErrorContains(t, err, name)
			a.Send(dev, msg)
			require.Equal(t, 1, *n)
		}
	}
	// Without interrupts in use it is turned on as ever.
	a := start(t)
	b := a.kexec(Options{IRQ: true})
	to, n := b.Handler()
	_, m, err := b.d.MapIRQ(dev, to)
	require.NoError(t, err)
	b.Send(dev, m)
	require.Equal(t, 1, *n)
}
