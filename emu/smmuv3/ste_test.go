package smmuv3_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

type change = func(*smmuv3.Config)

// steCase is an STE and what makes it legal or not.
type steCase struct {
	name    string
	fields  []field
	change  change
	illegal bool
}

func requireSTE(t *testing.T, c steCase, config uint64) {
	t.Run(fmt.Sprintf("%s/%d", c.name, config), func(t *testing.T) {
		var more []change
		if c.change != nil {
			more = append(more, c.change)
		}
		r := newRig(t, more...).enable()
		f := append([]field{{spec.SteConfig, config}}, s2Fields(0x40_0000)...)
		r.bind(dev, append(f, c.fields...)...)
		res := r.Do(dma(emu.Read))
		if c.illegal {
			r.RequireFault(res, smmuv3.FaultSTEIllegal)
			require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvBadSTE}, r.event())
			return
		}
		require.NotEqual(t, uint16(smmuv3.FaultSTEIllegal), res.Fault.Code)
	})
}

func stall(model uint8) change { return func(c *smmuv3.Config) { c.StallModel = model } }

// 5.2: what is ILLEGAL in the fields of stage 2.
func TestSMMUQuirk17_Stage2FieldsThatMakeAnSTEIllegal(t *testing.T) {
	ttb := func(a uint64) field { return field{spec.SteS2TTB, a >> 4} }
	for _, c := range []steCase{
		{name: "as it is"},
		{name: "no stage 2", change: func(c *smmuv3.Config) { c.S2P, c.HYP, c.XNX, c.FWB = false, false, false, false }, illegal: true},
		{name: "VMSAv8-32", fields: []field{{spec.SteS2AA64, 0}}, illegal: true},
		{name: "HA", fields: []field{{spec.SteS2HA, 1}}, change: func(c *smmuv3.Config) { c.HTTU = spec.HTTUNone }, illegal: true},
		{name: "HA with HTTU", fields: []field{{spec.SteS2HA, 1}}, change: func(c *smmuv3.Config) { c.HTTU = spec.HTTUAccess }},
		{name: "HD", fields: []field{{spec.SteS2HA, 1}, {spec.SteS2HD, 1}}, change: func(c *smmuv3.Config) { c.HTTU = spec.HTTUAccess }, illegal: true},
		{name: "HAFT alone", fields: []field{{spec.SteS2HAFT, 1}}, change: func(c *smmuv3.Config) { c.HTTU = spec.HTTUTable }, illegal: true},
		{name: "HAFT without HTTU", fields: []field{{spec.SteS2HAFT, 1}}},
		{name: "reserved granule", fields: []field{{spec.SteS2TG, 3}}, illegal: true},
		{name: "no such granule", fields: []field{{spec.SteS2TG, 1}}, change: func(c *smmuv3.Config) { c.GRAN64K = false }, illegal: true},
		{name: "TTB beyond S2PS", fields: []field{{spec.SteS2PS, 1}, ttb(1 << 36)}, illegal: true},
		{name: "TTB within S2PS", fields: []field{{spec.SteS2PS, 1}, ttb(1<<36 - 1<<12)}},
		{name: "S2PS reserved", fields: []field{{spec.SteS2PS, 7}}},
		{name: "TTB beyond OAS", fields: []field{{spec.SteS2PS, 7}, ttb(1 << 44)}, change: func(c *smmuv3.Config) { c.OAS = 4 }, illegal: true},
		{name: "TTB beyond 48 bits", fields: []field{{spec.SteS2PS, 6}, ttb(1 << 48)}, change: func(c *smmuv3.Config) { c.OAS = spec.OAS52 }, illegal: true},
		{name: "TTB beyond 48 bits, 64K", fields: []field{{spec.SteS2PS, 6}, {spec.SteS2TG, 1}, {spec.SteS2SL0, 2}, ttb(1 << 48)}, change: func(c *smmuv3.Config) { c.OAS = spec.OAS52 }},
		{name: "T0SZ", fields: []field{{spec.SteS2T0SZ, 15}}, illegal: true},
		{name: "T0SZ below the input size", fields: []field{{spec.SteS2T0SZ, 19}}, change: func(c *smmuv3.Config) { c.OAS = 4 }, illegal: true},
		{name: "T0SZ large", fields: []field{{spec.SteS2T0SZ, 40}, {spec.SteS2SL0, 1}}, change: func(c *smmuv3.Config) { c.STT = false }, illegal: true},
		{name: "T0SZ large, STT", fields: []field{{spec.SteS2T0SZ, 40}, {spec.SteS2SL0, 0}}},
		{name: "SL0 too high", fields: []field{{spec.SteS2T0SZ, 39}, {spec.SteS2SL0, 2}}, illegal: true},
		{name: "SL0 too low", fields: []field{{spec.SteS2SL0, 0}}, illegal: true},
		{name: "SL0 with 16 tables", fields: []field{{spec.SteS2T0SZ, 21}, {spec.SteS2SL0, 1}}},
		{name: "SL0 with 32 tables", fields: []field{{spec.SteS2T0SZ, 20}, {spec.SteS2SL0, 1}}, illegal: true},
		{name: "SL0 3 needs STT", fields: []field{{spec.SteS2T0SZ, 39}, {spec.SteS2SL0, 3}}, change: func(c *smmuv3.Config) { c.STT = false }, illegal: true},
		{name: "SL0 3", fields: []field{{spec.SteS2T0SZ, 42}, {spec.SteS2SL0, 3}}},
		{name: "SL0 3, 16K", fields: []field{{spec.SteS2TG, 2}, {spec.SteS2SL0, 3}}, illegal: true},
		{name: "SL0 3, 64K", fields: []field{{spec.SteS2TG, 1}, {spec.SteS2SL0, 3}}, illegal: true},
		{name: "big-endian", fields: []field{{spec.SteS2ENDI, 1}}, change: func(c *smmuv3.Config) { c.TTENDIAN = spec.TTEndianLE }, illegal: true},
		{name: "little-endian", change: func(c *smmuv3.Config) { c.TTENDIAN = spec.TTEndianBE }, illegal: true},
		{name: "stall", fields: []field{{spec.SteS2S, 1}}, change: stall(spec.StallNever), illegal: true},
		{name: "VMID", fields: []field{{spec.SteS2VMID, 0x100}}, change: func(c *smmuv3.Config) { c.VMID16 = false }, illegal: true},
	} {
		requireSTE(t, c, spec.ConfigS2)
		if c.name != "no stage 2" && c.name != "VMID" {
			c.illegal = false // what is not used is not looked at
			requireSTE(t, c, spec.ConfigS1)
		}
	}
}

// 5.2: what is ILLEGAL in the fields of stage 1, and what hides it.
func TestSMMUQuirk12_UnusedFieldsAreNotLookedAt(t *testing.T) {
	context := func(a uint64) field { return field{spec.SteS1Context, a >> 6} }
	for _, c := range []steCase{
		{name: "as it is"},
		{name: "no stage 1", change: func(c *smmuv3.Config) { c.S1P, c.HYP, c.SSIDSIZE, c.CD2L = false, false, 0, false }, illegal: true},
		{name: "S1STALLD", fields: []field{{spec.SteS1STALLD, 1}}, change: stall(spec.StallNever), illegal: true},
		{name: "S1CDMax", fields: []field{{spec.SteS1CDMax, 17}}, illegal: true},
		{name: "S1CDMax without SubstreamIDs", fields: []field{{spec.SteS1CDMax, 17}}, change: func(c *smmuv3.Config) { c.SSIDSIZE = 0 }},
		{name: "two levels", fields: []field{{spec.SteS1CDMax, 8}, {spec.SteS1Fmt, 1}}, change: func(c *smmuv3.Config) { c.CD2L = false }, illegal: true},
		{name: "two levels without CDs", fields: []field{{spec.SteS1Fmt, 2}}, change: func(c *smmuv3.Config) { c.CD2L = false }},
		{name: "S1ContextPtr", fields: []field{context(1 << 44)}, change: func(c *smmuv3.Config) { c.OAS = 4 }, illegal: true},
		{name: "STRW", fields: []field{{spec.SteSTRW, 1}}, illegal: true},
		{name: "STRW without HYP", fields: []field{{spec.SteSTRW, 1}}, change: func(c *smmuv3.Config) { c.HYP = false }},
		{name: "VMID", fields: []field{{spec.SteS2VMID, 0x100}}, change: func(c *smmuv3.Config) { c.VMID16 = false }, illegal: true},
		{name: "VMID of EL2", fields: []field{{spec.SteS2VMID, 0x100}, {spec.SteSTRW, 2}}, change: func(c *smmuv3.Config) { c.VMID16 = false }},
	} {
		requireSTE(t, c, spec.ConfigS1)
		c.illegal = false
		requireSTE(t, c, spec.ConfigBypass)
		requireSTE(t, c, spec.ConfigAbort)
	}
}

func TestSMMUQuirk13_EATSAgainstStage2(t *testing.T) {
	both := func(f ...field) []field { return f }
	full, splitStage := field{spec.SteEATS, 1}, field{spec.SteEATS, 2}
	s2s := field{spec.SteS2S, 1}
	canStall := stall(spec.StallBoth)
	for config, list := range map[uint64][]steCase{
		spec.ConfigS1: {
			{name: "full", fields: both(full)}, {name: "full, S2S", fields: both(full, s2s), change: canStall},
			{name: "split", fields: both(splitStage), illegal: true},
			{name: "split without ATS", fields: both(splitStage), change: func(c *smmuv3.Config) { c.ATS, c.PRI = false, false }},
			{name: "reserved", fields: both(field{spec.SteEATS, 3})},
		},
		spec.ConfigS2: {
			{name: "full", fields: both(full)}, {name: "full, S2S", fields: both(full, s2s), change: canStall, illegal: true},
			{name: "split", fields: both(splitStage), illegal: true},
		},
		spec.ConfigNested: {
			{name: "full", fields: both(full)}, {name: "full, S2S", fields: both(full, s2s), change: canStall, illegal: true},
			{name: "split", fields: both(splitStage)}, {name: "split, S2S", fields: both(splitStage, s2s), change: canStall, illegal: true},
			{name: "split, NS1ATS", fields: both(splitStage), change: func(c *smmuv3.Config) { c.NS1ATS = true }, illegal: true},
		},
		spec.ConfigBypass: {{name: "split", fields: both(splitStage)}},
	} {
		for _, c := range list {
			requireSTE(t, c, config)
		}
	}
}

func TestSMMUQuirk14_NS1ATSForbidsSplitStage(t *testing.T) {
	requireSTE(t, steCase{name: "NS1ATS=1", fields: []field{{spec.SteEATS, 2}}, change: func(c *smmuv3.Config) { c.NS1ATS = true }, illegal: true}, spec.ConfigNested)
	requireSTE(t, steCase{name: "NS1ATS=0", fields: []field{{spec.SteEATS, 2}}}, spec.ConfigNested)
}

// The order of the rules for SubstreamIDs, 3.3.2.
func TestSubstreams(t *testing.T) {
	max := field{spec.SteS1CDMax, 4}
	dss := func(v uint64) field { return field{spec.SteS1DSS, v} }
	none := emu.NoPASID
	for _, c := range []struct {
		name   string
		fields []field
		config uint64
		pasid  emu.PASID
		fault  uint16
		cd     int // which CD translates, -1 none
	}{
		{"single CD", nil, spec.ConfigS1, none, 0, 0},
		{"no substreams", nil, spec.ConfigS1, 1, smmuv3.FaultSubstreamNone, 0},
		{"terminate", []field{max, dss(0)}, spec.ConfigS1, none, smmuv3.FaultNoSubstream, 0},
		{"reserved as terminate", []field{max, dss(3)}, spec.ConfigS1, none, smmuv3.FaultNoSubstream, 0},
		{"bypass", []field{max, dss(1)}, spec.ConfigS1, none, 0, -1},
		{"CD 0", []field{max, dss(2)}, spec.ConfigS1, none, 0, 0},
		{"0 is reserved", []field{max, dss(2)}, spec.ConfigS1, 0, smmuv3.FaultSubstream0, 0},
		{"0 with terminate", []field{max, dss(0)}, spec.ConfigS1, 0, 0, 0},
		{"0 with bypass", []field{max, dss(1)}, spec.ConfigS1, 0, 0, 0},
		{"last", []field{max, dss(0)}, spec.ConfigS1, 15, 0, 15},
		{"beyond", []field{max, dss(0)}, spec.ConfigS1, 16, smmuv3.FaultSubstreamRange, 0},
		{"bypassed stream", []field{max}, spec.ConfigBypass, 1, smmuv3.FaultSubstreamNone, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t).enable()
			cds := r.Page()
			for i := range 16 {
				root := r.Page()
				r.mapPage(root, iova, uint64(0x50_0000+i<<12), s1RW)
				w := words(append(cdFields(root), field{spec.CdASID, uint64(0x40 + i)})...)
				r.Put(cds+emu.PA(i*spec.CDSize), w[:]...)
			}
			r.bind(dev, append([]field{{spec.SteConfig, c.config}, {spec.SteS1Context, uint64(cds) >> 6}}, c.fields...)...)
			res := r.Do(emutest.DMA(dev, c.pasid, iova, emu.Read))
			switch {
			case c.fault != 0:
				r.RequireFault(res, c.fault)
				e := r.event()
				want := spec.Event{uint64(dev)<<32 | uint64(c.fault&0xff)}
				if c.fault&0xff == spec.EvBadSubstreamID {
					want[0] |= uint64(c.pasid) << 12 // and no SSV
				}
				require.Equal(t, want, e)
			case c.cd < 0:
				r.RequireOK(res, iova)
			default:
				r.RequireOK(res, uint64(0x50_0000+c.cd<<12))
			}
		})
	}
}

func TestSMMUQuirk06_SubstreamIDWithoutStage1IsBad(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	r.requireEvent(emutest.DMA(dev, 0, iova, emu.Read), smmuv3.FaultSubstreamNone)
	root := r.attach2(other)
	r.mapPage(root, iova, 0x5000, s2RW)
	r.RequireOK(r.Access(other, iova, emu.Read), 0x5000)
	r.requireEvent(emutest.DMA(other, 5, iova, emu.Read), smmuv3.FaultSubstreamNone)
	_, root = r.attach(dev)
	r.submit(cfgiSTE(dev, 1), sync())
	r.mapPage(root, iova, 0x6000, s1RW)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x6000)
	r.requireEvent(emutest.DMA(dev, 0, iova, emu.Read), smmuv3.FaultSubstreamNone)
}

func TestSMMUQuirk07_S1DSSAndSubstream0(t *testing.T) {
	r := newRig(t).enable()
	cd, root := r.attach(dev)
	r.mapPage(root, iova, 0x5000, s1RW)
	r.set(r.ste(dev), field{spec.SteS1CDMax, 1}, field{spec.SteS1DSS, spec.DSSSSID0})
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	r.requireEvent(emutest.DMA(dev, 0, iova, emu.Read), smmuv3.FaultSubstream0)
	for _, dss := range []uint64{spec.DSSTerminate, spec.DSSBypass} {
		r.set(r.ste(dev), field{spec.SteS1DSS, dss})
		r.submit(cfgiSTE(dev, 1), sync())
		r.RequireOK(r.Do(emutest.DMA(dev, 0, iova, emu.Read)), 0x5000)
	}
	require.NotZero(t, cd)
}

func TestSMMUQuirk08_BypassOfStage1ReadsNoCD(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigS1}, field{spec.SteS1Context, 0x70_0000 >> 6}, field{spec.SteS1CDMax, 4}, field{spec.SteS1DSS, spec.DSSBypass})
	r.BusError(0x70_0000, emu.PageSize)
	r.RequireOK(r.Do(dma(emu.Read)), iova)
	r.requireEvent(emutest.DMA(dev, 1, iova, emu.Read), smmuv3.FaultCDFetch)
}

func TestSMMUQuirk10_RecordsWithoutSubstreamFields(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.SteConfig, spec.ConfigBypass})
	e := r.requireEvent(emutest.DMA(dev, 0xabcde, iova, emu.Read), smmuv3.FaultSubstreamNone)
	require.Equal(t, spec.Event{uint64(dev)<<32 | 0xabcde<<12 | spec.EvBadSubstreamID}, e)
	r.attach(dev)
	r.set(r.ste(dev), field{spec.SteS1CDMax, 1}, field{spec.SteS1DSS, spec.DSSSSID0})
	r.submit(cfgiSTE(dev, 1), sync())
	e = r.requireEvent(emutest.DMA(dev, 0, iova, emu.Read), smmuv3.FaultSubstream0)
	require.Equal(t, spec.Event{uint64(dev)<<32 | spec.EvStreamDisabled}, e)
}
