package qemu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// armRig is a rig with an SMMUv3. Its structures are where those of the PC are, from the beginning of
// memory.
type armRig struct {
	*rig
	streams, cds, commands, events, tables, stage2, pages emu.PA
	prod                                                  uint64 // of the command queue
}

func startArm(t *testing.T) *armRig {
	r := &armRig{rig: start(t, qemu.Options{Mode: qemu.BothStages})}
	at := r.m.RAM + 1<<20
	for _, p := range []*emu.PA{&r.streams, &r.cds, &r.commands, &r.events, &r.tables, &r.stage2, &r.pages} {
		*p, at = at, at+0x4_0000
	}
	return r
}

const (
	armLeaf  = 3 | 1<<6 | 1<<10 // a page for user mode, accessed
	armRead  = armLeaf | 1<<7
	armLevel = 9 // bits of StreamIDs
)

// up turns the unit on, all devices with an STE of a kind: stage 1, 2 or both, with the same three levels.
func (r *armRig) up(config uint64, leaves ...uint64) {
	r.Helper()
	for i, t := range []emu.PA{r.tables, r.stage2} {
		r.store(t, uint64(t+0x1000)|3)
		r.store(t+0x1000, uint64(t+0x2000)|3)
		if i == 0 {
			r.store(t+0x2000, leaves...)
		}
	}
	// Stage 2 maps the first GiB of memory as it is.
	const first = 1 << 30
	r.store(r.stage2, 0, uint64(first)|1|3<<6|1<<10)
	r.store(r.cds, 25|1<<30|1<<31|4<<32|1<<41|1<<45|1<<46|7<<48, uint64(r.tables), 0, 0)
	for _, d := range r.m.Devices {
		r.store(r.streams+emu.PA(d.Source)*spec.STESize, 1|config<<1|uint64(r.cds), 0,
			1|25<<32|1<<38|4<<48|1<<51|1<<58, uint64(r.stage2))
	}
	r.set(spec.OffSTRTABBase, 8, uint64(r.streams))
	r.set(spec.OffSTRTABBaseCfg, 4, armLevel)
	r.set(spec.OffCMDQBase, 8, uint64(r.commands)|8)
	r.set(spec.OffEVENTQBase, 8, uint64(r.events)|7)
	r.set(spec.OffCR0, 4, spec.Cr0SMMUEN.Mask()|spec.Cr0EVENTQEN.Mask()|spec.Cr0CMDQEN.Mask())
	r.prod = 0
}

func (r *armRig) command(lo, hi uint64) {
	r.Helper()
	r.store(r.commands+emu.PA(r.prod)*16, lo, hi)
	r.prod++
	r.set(spec.OffCMDQProd, 4, r.prod)
	require.Equal(r, r.prod, r.reg(spec.OffCMDQCons, 4))
}

func TestSMMUv3_DMAIsTranslated(t *testing.T) {
	r := startArm(t)
	for name, c := range map[string]struct {
		config uint64
		offset emu.IOVA // of the pages in the address space of the device
	}{"stage 1": {spec.ConfigS1, 0}, "both stages": {spec.ConfigNested, 0}, "stage 2": {spec.ConfigS2, emu.IOVA(r.pages)}} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, r.Reset())
			r.up(c.config, uint64(r.pages)|armLeaf, uint64(r.pages+0x1000)|armRead, 0)
			r.store(r.pages, 0x1111)
			for dev, d := range r.m.Devices {
				v, ok := r.dmaRead(dev, c.offset)
				require.True(t, ok)
				require.EqualValues(t, 0x1111, v)
				require.True(t, r.dmaWrite(dev, c.offset+0x8, dev))
				require.Equal(t, tag(dev), r.load(r.pages+0x8))
				if c.config != spec.ConfigS2 {
					require.False(t, r.dmaWrite(dev, 0x1010, dev), "read-only")
					require.Zero(t, r.load(r.pages+0x1010))
				}
				_, ok = r.dmaRead(dev, 0x2000)
				require.False(t, ok, "not present")

				// Each refused access is one event, though QEMU would try again in halves.
				n := uint64(dev + 1)
				if c.config != spec.ConfigS2 {
					n *= 2
				}
				require.Equal(t, n, r.reg(spec.OffEVENTQProd, 4))
				e := r.load(r.events + emu.PA(n-1)*spec.EventSize)
				require.EqualValues(t, spec.EvTranslation, e&0xff)
				require.EqualValues(t, d.Source, e>>32)
			}
		})
	}
}

func TestSMMUv3_ReadingBackChangesNothing(t *testing.T) {
	r := startArm(t)
	registers := func() (list []uint64) {
		for _, page := range []uint32{0, 0x1_0000} {
			for off := page; off < page+0x200; off += 4 {
				list = append(list, r.reg(off, 4))
			}
		}
		return list
	}
	fresh := registers()
	r.store(r.pages, 5)
	v, ok := r.dmaRead(0, emu.IOVA(r.pages))
	require.True(t, ok, "untranslated")
	require.EqualValues(t, 5, v)
	require.Equal(t, fresh, registers())

	r.up(spec.ConfigS1, uint64(r.pages)|armLeaf)
	r.command(spec.CmdCfgiSTERange, 31)
	on := registers()
	v, ok = r.dmaRead(1, 0)
	require.True(t, ok)
	require.EqualValues(t, 5, v)
	require.Equal(t, on, registers())
	r.store(r.tables+0x2000, 0)
	v, ok = r.dmaRead(1, 0)
	require.True(t, ok, "the TLB still has it")
	require.EqualValues(t, 5, v)
	r.command(spec.CmdTlbiNSNHAll, 0)
	_, ok = r.dmaRead(1, 0)
	require.False(t, ok)

	// Where nothing passes, nothing does, but what was read before can be seen.
	r.set(spec.OffCR0, 4, 0)
	r.set(spec.OffGBPA, 4, spec.GbpaABORT.Mask()|spec.GbpaUPDATE.Mask())
	_, ok = r.dmaRead(1, emu.IOVA(r.pages))
	require.False(t, ok)
	r.set(spec.OffCR0, 4, spec.Cr0SMMUEN.Mask())
	r.store(r.tables+0x2000, uint64(r.pages)|armLeaf)
	v, ok = r.dmaRead(1, 0)
	require.True(t, ok)
	require.EqualValues(t, 5, v)
	require.True(t, spec.GbpaABORT.On(r.reg(spec.OffGBPA, 4)))

	for _, off := range []uint32{
		spec.OffCR1, spec.OffCR2, spec.OffIRQCtrl, spec.OffGERRORIRQCfg0, spec.OffGERRORIRQCfg0 + 8, spec.OffGERRORIRQCfg0 + 12,
		spec.OffEVENTQIRQCfg0, spec.OffEVENTQIRQCfg0 + 8, spec.OffEVENTQIRQCfg0 + 12,
	} {
		r.set(off, 4, 0xffff_ffff)
	}
	require.NoError(t, r.Reset())
	require.Equal(t, fresh, registers())
	require.Zero(t, r.load(r.pages))
}
