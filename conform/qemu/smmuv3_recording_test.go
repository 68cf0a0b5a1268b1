package qemu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// How the oracle of a recording was made, again for the requesters that the peer has: QEMU gets the memory and
// the registers of the snapshot and nothing else, and a device makes one access for each row.
func TestSMMUv3_AnswersAsInTheRecordings(t *testing.T) {
	for _, name := range []string{"smmuv3-s1", "smmuv3-made"} {
		t.Run(name, func(t *testing.T) {
			r := &armRig{rig: start(t, qemu.Options{Mode: qemu.BothStages, RAM: 256 << 20})}
			stored := r.restore(name)
			devices := map[emu.SourceID]int{}
			for i, d := range r.m.Devices {
				devices[d.Source] = i
			}
			done := map[string]int{}
			for i, o := range emutest.Rows(t, name, "oracle.csv.zst") {
				dev, ok := devices[emu.SourceID(o.Number("sid"))]
				pa, at := emu.PA(o.Number("pa")), emu.IOVA(o.Number("iova"))
				allowed := o.Text("expect") == "ok"
				if !ok || allowed && (pa < r.m.RAM || pa >= r.m.RAM+emu.PA(r.m.Size) || stored[pa>>emu.PageShift]) {
					continue // not in memory, or part of the tables
				}
				r.command(spec.CmdTlbiNSNHAll, 0) // a hit in the TLB that is refused leaves no event
				done[o.Text("expect")]++
				if o.Text("access") == "W" {
					if allowed {
						r.store(pa, 0)
					}
					require.Equal(t, allowed, r.dmaWrite(dev, at, i%64), o)
					if allowed {
						require.Equal(t, tag(i%64), r.load(pa), o)
					}
					continue
				}
				want := uint64(0x1234_5678<<32 | i)
				if allowed {
					r.store(pa, want)
				}
				got, ok := r.dmaRead(dev, at)
				require.Equal(t, allowed, ok, o)
				if allowed {
					require.Equal(t, want, got, o)
				}
			}
			require.Greater(t, done["ok"], 10)
			require.Greater(t, done["fault"], 5)
		})
	}
}

// restore brings memory and registers of a recording into the peer, and returns which pages it has stored.
func (r *armRig) restore(name string) map[emu.PA]bool {
	regs, m := emutest.Capture(r.T, name)
	img, err := regs.Words(spec.WindowPM)
	require.NoError(r, err)
	reg := func(off uint32, size uint8) uint64 {
		v, ok := img.Get(off, size)
		require.True(r, ok, "%#x", off)
		return v
	}
	stored := map[emu.PA]bool{}
	page := make([]byte, emu.PageSize)
	for at := range m.Pages() {
		require.True(r, m.Read(at, page))
		require.NoError(r, r.Write(at, page))
		stored[at>>emu.PageShift] = true
	}
	for _, off := range []uint32{spec.OffSTRTABBase, spec.OffCMDQBase, spec.OffEVENTQBase} {
		r.set(off, 8, reg(off, 8))
	}
	// The command queue begins anew: what is in it has been done.
	for _, off := range []uint32{spec.OffCR1, spec.OffCR2, spec.OffSTRTABBaseCfg, spec.OffEVENTQProd, spec.OffEVENTQCons, spec.OffCR0} {
		r.set(off, 4, reg(off, 4))
	}
	r.commands, r.prod = emu.PA(reg(spec.OffCMDQBase, 8)&spec.QBaseAddr.Mask()), 0
	return stored
}
