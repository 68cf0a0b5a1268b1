package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// 5.4: what is ILLEGAL in a CD.
func TestCDFieldsThatMakeItIllegal(t *testing.T) {
	ttb := func(a uint64) field { return field{spec.CdTTB0, a >> 4} }
	wide := func(c *smmuv3.Config) { c.OAS, c.VAX = spec.OAS52, spec.VAX52 }
	ds := func(c *smmuv3.Config) { wide(c); c.DS = true }
	off := field{spec.CdEPD0, 1}
	for _, c := range []struct {
		name    string
		fields  []field
		change  change
		illegal bool
	}{
		{"as it is", nil, nil, false},
		{"VMSAv8-32", []field{{spec.CdAA64, 0}}, nil, true},
		{"A=0", []field{{spec.CdA, 0}}, nil, false},
		{"HA", []field{{spec.CdHA, 1}}, func(c *smmuv3.Config) { c.HTTU = spec.HTTUNone }, true},
		{"HD with HTTU 1", []field{{spec.CdHA, 1}, {spec.CdHD, 1}}, func(c *smmuv3.Config) { c.HTTU = spec.HTTUAccess }, true},
		{"HD alone", []field{{spec.CdHD, 1}}, nil, false},
		{"HAFT alone", []field{{spec.CdHAFT, 1}}, func(c *smmuv3.Config) { c.HTTU = spec.HTTUTable }, true},
		{"ASID", []field{{spec.CdASID, 0x100}}, func(c *smmuv3.Config) { c.ASID16 = false }, true},
		{"ASID of 8 bits", []field{{spec.CdASID, 0xff}}, func(c *smmuv3.Config) { c.ASID16 = false }, false},
		{"T0SZ small", []field{{spec.CdT0SZ, 15}}, nil, true},
		{"T0SZ 12 needs VAX", []field{{spec.CdT0SZ, 12}, {spec.CdTG0, 1}}, nil, true},
		{"T0SZ 12 with 64K", []field{{spec.CdT0SZ, 12}, {spec.CdTG0, 1}}, wide, false},
		{"T0SZ 12 with 4K", []field{{spec.CdT0SZ, 12}}, wide, true},
		{"T0SZ 12 with 4K and DS", []field{{spec.CdT0SZ, 12}, {spec.CdDS, 1}}, ds, false},
		{"T0SZ 39", []field{{spec.CdT0SZ, 39}}, func(c *smmuv3.Config) { c.STT = false }, false},
		{"T0SZ 40", []field{{spec.CdT0SZ, 40}}, func(c *smmuv3.Config) { c.STT = false }, true},
		{"T0SZ 48, STT", []field{{spec.CdT0SZ, 48}}, nil, false},
		{"T0SZ 48, STT, 64K", []field{{spec.CdT0SZ, 48}, {spec.CdTG0, 1}}, nil, true},
		{"reserved granule", []field{{spec.CdTG0, 3}}, nil, true},
		{"no such granule", []field{{spec.CdTG0, 2}}, func(c *smmuv3.Config) { c.GRAN16K = false }, true},
		{"TTB beyond IPS", []field{{spec.CdIPS, 0}, ttb(1 << 32)}, nil, true},
		{"TTB within IPS", []field{{spec.CdIPS, 0}, ttb(1<<32 - 1<<12)}, nil, false},
		{"TTB beyond OAS", []field{{spec.CdIPS, 7}, ttb(1 << 44)}, func(c *smmuv3.Config) { c.OAS = 4 }, true},
		{"TTB beyond 48 bits", []field{{spec.CdIPS, 6}, ttb(1 << 48)}, wide, true},
		{"TTB beyond 48 bits, DS", []field{{spec.CdIPS, 6}, ttb(1 << 48), {spec.CdDS, 1}}, ds, false},
		{"upper half reserved granule", []field{{spec.CdEPD1, 0}, {spec.CdT1SZ, 16}}, nil, true},
		{"upper half", []field{{spec.CdEPD1, 0}, {spec.CdT1SZ, 16}, {spec.CdTG1, 2}}, nil, false},
		{"upper half TTB", []field{{spec.CdEPD1, 0}, {spec.CdT1SZ, 16}, {spec.CdTG1, 2}, {spec.CdIPS, 0}, {spec.CdTTB1, 1 << 28}}, nil, true},
		{"big-endian", []field{{spec.CdENDI, 1}}, func(c *smmuv3.Config) { c.TTENDIAN = spec.TTEndianLE }, true},
		{"big-endian without tables", []field{{spec.CdENDI, 1}, off}, func(c *smmuv3.Config) { c.TTENDIAN = spec.TTEndianLE }, false},
		{"all off", []field{off, {spec.CdT0SZ, 0}, {spec.CdTG0, 3}, ttb(1 << 51)}, nil, false}, // EPD0=1 hides them
	} {
		t.Run(c.name, func(t *testing.T) {
			var more []change
			if c.change != nil {
				more = append(more, c.change)
			}
			r := newRig(t, more...).enable()
			r.attach(dev, c.fields...)
			res := r.Do(dma(emu.Read))
			if c.illegal {
				r.RequireFault(res, smmuv3.FaultCDIllegal)
				require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvBadCD}, r.event())
				return
			}
			require.NotEqual(t, uint16(smmuv3.FaultCDIllegal), res.Fault.Code)
		})
	}
}

func TestSMMUQuirk16_TermModelNeedsA(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.TermModel = true }).enable()
	r.attach(dev, field{spec.CdA, 0})
	r.requireEvent(dma(emu.Read), smmuv3.FaultCDIllegal)
}

// twoLevelCD gives dev a CD table of two levels and returns where the descriptors of index are.
func (r *rig) twoLevelCD(format, index uint64) (l1, cd emu.PA) {
	split := spec.CDSplit(format)
	top, leaf := r.aligned(8<<(12-split)), r.aligned(spec.CDSize<<split)
	r.bind(dev, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(top) >> 6}, field{spec.SteS1CDMax, 12}, field{spec.SteS1Fmt, format})
	l1 = top + emu.PA(index>>split)*8
	r.Put(l1, uint64(leaf)|1)
	return l1, leaf + emu.PA(index&(1<<split-1))*spec.CDSize
}

func TestTwoLevelCDTables(t *testing.T) {
	for _, format := range []uint64{spec.S1Fmt4K, spec.S1Fmt64K} {
		r := newRig(t).enable()
		const index = 0xa5f
		_, cd := r.twoLevelCD(format, index)
		root := r.Page()
		r.mapPage(root, iova, 0x5000, s1RW)
		w := words(cdFields(root)...)
		r.Put(cd, w[:]...)
		r.RequireOK(r.Do(emutest.DMA(dev, index, iova, emu.Read)), 0x5000)
		e := r.requireEvent(emutest.DMA(dev, 1, iova, emu.Read), smmuv3.FaultL1CDInvalid)
		require.Equal(t, spec.Event{uint64(dev)<<32 | 1<<12 | spec.EvBadSubstreamID}, e)
	}
}

func TestSMMUQuirk09_BadLevel1DescriptorIsABadSubstreamID(t *testing.T) {
	r := newRig(t, func(c *smmuv3.Config) { c.OAS = 4 }).enable()
	l1, _ := r.twoLevelCD(spec.S1Fmt64K, 5)
	r.Put(l1, 0)
	q := emutest.DMA(dev, 5, iova, emu.Read)
	r.requireEvent(q, smmuv3.FaultL1CDInvalid)
	r.Put(l1, 1<<44|1)
	r.submit(cfgiCD(dev, 5, 0), sync())
	r.requireEvent(q, smmuv3.FaultL1CDPointer)
	r.set(r.ste(dev), field{spec.SteS1Context, 1 << 38})
	r.submit(cfgiSTE(dev, 1), sync())
	r.requireEvent(q, smmuv3.FaultSTEIllegal)
	// SMMUv3.0 has no such checks: the fetch fails.
	r = newRig(t, func(c *smmuv3.Config) { c.OAS, c.Minor = 4, 0 }).enable()
	l1, _ = r.twoLevelCD(spec.S1Fmt64K, 5)
	r.Put(l1, 1<<44|1)
	r.requireEvent(q, smmuv3.FaultCDFetch)
	r.set(r.ste(dev), field{spec.SteS1Context, 1 << 38})
	r.submit(cfgiSTE(dev, 1), sync())
	r.requireEvent(q, smmuv3.FaultL1CDFetch)
}

func TestFetchErrorsOfContextDescriptors(t *testing.T) {
	r := newRig(t).enable()
	cd, _ := r.attach(dev)
	r.BusError(cd+8, 8)
	e := r.requireEvent(dma(emu.Read), smmuv3.FaultCDFetch)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvCDFetch, 0, 0, uint64(cd) + 8}, e)

	r = newRig(t).enable()
	l1, _ := r.twoLevelCD(spec.S1Fmt4K, 0x77)
	r.BusError(l1, 8)
	e = r.requireEvent(emutest.DMA(dev, 0x77, iova, emu.Read), smmuv3.FaultL1CDFetch)
	require.Equal(t, spec.Event{uint64(dev)<<32 | 0x77<<12 | spec.EvtSSV.Mask() | spec.EvCDFetch, 0, 0, uint64(l1)}, e)

	r = newRig(t).enable()
	cd, _ = r.attach(dev)
	r.Put(cd, 0)
	e = r.requireEvent(dma(emu.Read), smmuv3.FaultCDInvalid)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvBadCD}, e)
}

func TestSMMUQuirk40_CFGIOfAnSTEDropsItsCDs(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.set(cd, field{spec.CdV, 0})
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.submit(cfgiSTE(dev, 1), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultCDInvalid)

	// One command for each stream that shares a table; a single CD has index 0.
	r.set(cd, field{spec.CdV, 1})
	r.bind(other, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, uint64(cd) >> 6})
	r.submit(cfgiAll(), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.set(cd, field{spec.CdV, 0})
	r.submit(cfgiCD(dev, 1, 1), sync())
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.submit(cfgiCD(dev, 0, 1), sync())
	r.requireEvent(dma(emu.Read), smmuv3.FaultCDInvalid)
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.submit(command(spec.CmdCfgiCDAll, field{spec.CmdSID, uint64(other)}), sync())
	r.requireEvent(emutest.DMA(other, emu.NoPASID, iova, emu.Read), smmuv3.FaultCDInvalid)
}

func TestSMMUQuirk41_Level1DescriptorsNeedLeaf0(t *testing.T) {
	r := newRig(t).enable()
	const index = 0x155
	l1, cd := r.twoLevelCD(spec.S1Fmt4K, index)
	root := r.Page()
	r.mapPage(root, iova, 0x5000, s1RW)
	w := words(cdFields(root)...)
	r.Put(cd, w[:]...)
	q := emutest.DMA(dev, index, iova, emu.Read)
	r.RequireOK(r.Do(q), 0x5000)
	leaf := r.aligned(spec.CDSize << 6)
	next := r.Page()
	r.mapPage(next, iova, 0x6000, s1RW)
	w = words(append(cdFields(next), field{spec.CdASID, asid + 1})...)
	r.Put(leaf+index&63*spec.CDSize, w[:]...)
	r.Put(l1, uint64(leaf)|1)
	r.submit(cfgiCD(dev, index, 1), sync())
	r.RequireOK(r.Do(q), 0x5000)
	r.submit(cfgiCD(dev, index, 0), sync())
	r.RequireOK(r.Do(q), 0x6000)
}

// Version tells entries apart by what they translate.
func TestVersions(t *testing.T) {
	ste := words(field{spec.SteV, 1}, field{spec.SteConfig, spec.ConfigNested}, field{spec.SteS2VMID, 5}, field{spec.SteS2T0SZ, 16}, field{spec.SteS2TTB, 0x1234})
	cd := words(cdFields(0x5000)...)
	v := smmuv3.Version(ste[:], cd[:])
	for _, b := range []struct {
		f    field
		same bool
		cd   bool
	}{
		{field{spec.SteS2TTB, 0x1235}, false, false}, {field{spec.SteS2VMID, 6}, false, false}, {field{spec.SteConfig, spec.ConfigS1}, false, false},
		{field{spec.SteS2S, 1}, true, false}, {field{spec.SteS1Context, 9}, true, false}, {field{spec.SteEATS, 1}, true, false}, {field{spec.SteV, 0}, false, false},
		{field{spec.CdTTB0, 7}, false, true}, {field{spec.CdASID, 7}, false, true}, {field{spec.CdTTB1, 7}, true, true}, {field{spec.CdR, 0}, true, true},
		{field{spec.CdT1SZ, 20}, true, true}, {field{spec.CdHA, 1}, false, true}, {field{spec.CdPAN, 1}, false, true},
	} {
		s, c := ste, cd
		if b.cd {
			b.f.b.Set(c[:], b.f.v)
		} else {
			b.f.b.Set(s[:], b.f.v)
		}
		if b.same {
			require.Equal(t, v, smmuv3.Version(s[:], c[:]), "%+v", b)
		} else {
			require.NotEqual(t, v, smmuv3.Version(s[:], c[:]), "%+v", b)
		}
	}
}

// The observer sees all of a CD, in order, with what changed while it was read.
func TestTornCD(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	next := r.Page()
	r.mapPage(next, iova, 0x6000, s1RW)
	for i := range emu.PA(5) {
		r.Put(cd+24+8*i, 0x1111*uint64(i+1))
	}
	var seen []uint64
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, at emu.PA, w []uint64) {
		if kind == emu.StructPASID {
			require.Equal(t, cd, at)
			seen = append([]uint64(nil), w...)
		}
	}))
	w0 := r.Get(cd)
	s := r.Begin(dma(emu.Read))
	s.UntilFetch(cd)
	r.set(cd, field{spec.CdASID, asid + 1}, field{spec.CdTTB0, uint64(next) >> 4})
	res := s.End()
	require.Equal(t, []uint64{w0, uint64(next), 0, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555}, seen, "the old ASID, the new table")
	r.RequireOK(res, 0x6000)
	require.Equal(t, smmuv3.Version(r.wordsAt(r.ste(dev)), seen), res.Prov.Entry)
}
