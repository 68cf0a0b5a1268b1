package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func noMSI(c *smmuv3.Config) { c.MSI = false }

// Every enabled interrupt pulses the line of its own, whether or not it is a message too, 3.18.2.
func TestInterruptLines(t *testing.T) {
	for name, c := range map[string]struct {
		change  change
		message bool // software has given addresses
	}{
		"no messages": {noMSI, false}, "no addresses": {func(*smmuv3.Config) {}, false}, "both": {func(*smmuv3.Config) {}, true},
		"messages alone": {func(c *smmuv3.Config) { c.Wires = false }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.change).enable()
			r.attach(dev)
			var lines []uint32
			r.F.OnPulse = func(line uint32) { lines = append(lines, line) }
			if c.message {
				r.interrupts(0)
			}
			expect := func(what string, line, data uint32) {
				t.Helper()
				if r.u.Config().Wires {
					require.Equal(t, []uint32{line}, lines, what)
				} else {
					require.Empty(t, lines, what)
				}
				if c.message && data != 0 {
					require.Equal(t, []uint32{data}, r.MSI, what)
				} else {
					require.Empty(t, r.MSI, what)
				}
				lines, r.MSI = nil, nil
			}
			none := func(what string) {
				t.Helper()
				require.Empty(t, lines, what)
				require.Empty(t, r.MSI, what)
			}
			r.Do(dma(emu.Read))
			r.drain()
			none("interrupts are off")
			r.W32(spec.OffIRQCtrl, 7)
			r.Do(dma(emu.Read))
			expect("event", spec.LineEVENTQ, eventData)
			r.Do(dma(emu.Read))
			none("the queue was not empty")
			r.drain()
			r.Do(dma(emu.Read))
			expect("event after the queue was read", spec.LineEVENTQ, eventData)
			r.Do(emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: emu.NoPASID, Access: emu.Read, Type: emu.PageRequest, Data: emu.MakePRG(1, true)})
			expect("page request", spec.LinePRIQ, priData)
			r.requireError([2]uint64{}, spec.CerrorILL)
			expect("global error", spec.LineGERROR, gerrorData)
			r.repair(sync())
			none("SYNC without a signal")
			r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}))
			expect("SYNC", spec.LineSYNC, 0)
			if r.u.Config().MSI {
				r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}, field{spec.SyncMSIAddr, 0xfee0_1000 >> 2}, field{spec.SyncMSIData, 0x55}))
				require.Equal(t, []uint32{0x55}, r.MSI)
				lines, r.MSI = nil, nil
			}
			r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncSEV}))
			require.Equal(t, []uint32{spec.LineEvent}, lines, "the wake-up event is no interrupt: it is always there")
		})
	}
	r := newRig(t, func(c *smmuv3.Config) { c.SEV = false }).enable()
	r.F.OnPulse = func(uint32) { t.Error("no wake-up events without SEV") }
	r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncSEV}))
	_, err := smmuv3.New(func() smmuv3.Config { c := smmuv3.DefaultConfig(); c.MSI, c.Wires = false, false; return c }())
	require.ErrorContains(t, err, "Wires")
}

// What a pulse tells is there to be seen before it, 3.18: the record with its index, the SYNC consumed.
func TestInterruptLines_ComeAfterWhatTheyTell(t *testing.T) {
	r := newRig(t, noMSI).enable()
	r.attach(dev)
	seen := map[uint32]int{}
	r.F.OnWire(0, spec.LineEVENTQ, func() { seen[spec.LineEVENTQ]++; require.Len(t, r.drain(), 1) })
	r.F.OnWire(0, spec.LineSYNC, func() {
		seen[spec.LineSYNC]++
		require.Equal(t, r.prod, r.R32(spec.OffCMDQCons))
	})
	r.F.OnWire(0, spec.LineGERROR, func() { seen[spec.LineGERROR]++; require.Equal(t, spec.GerrCMDQ.Mask(), r.active()) })
	r.W32(spec.OffIRQCtrl, 7)
	for range 3 {
		r.Do(dma(emu.Read))
		r.submit(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}))
	}
	r.requireError([2]uint64{}, spec.CerrorILL)
	require.Equal(t, map[uint32]int{spec.LineEVENTQ: 3, spec.LineSYNC: 3, spec.LineGERROR: 1}, seen)
}

// A line of a timed machine interrupts the processor that has registered for it last, as many cycles later as
// a message.
func TestTimedInterruptLines(t *testing.T) {
	r := newRig(t, noMSI).enable()
	r.attach(dev)
	r.W32(spec.OffIRQCtrl, spec.IrqEVENTQ.Mask())
	m := r.Timed(64)
	first, second, syncs := 0, 0, 0
	m.CPU.OnWire(0, spec.LineEVENTQ, func() { first++ })
	m.CPU.OnWire(0, spec.LineEVENTQ, func() { second++ })
	m.CPU.OnWire(0, spec.LineSYNC, func() { syncs++ })
	m.CPU.OnWire(1, spec.LineSYNC, func() { t.Error("another unit") })
	r.push(command(spec.CmdSync, field{spec.SyncCS, spec.SyncIRQ}))
	m.Issue(3, dma(emu.Read))
	m.CPU.WriteReg(0, spec.OffCMDQProd, 4, r.prod)
	require.True(t, m.CPU.Poll(func() bool { return second == 1 && syncs == 1 }, 1_000_000))
	require.Zero(t, first)
}
