package smmuv3

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// ids are the ID registers that say what a unit can do.
type ids struct{ IDR0, IDR1, IDR2, IDR3, IDR5, AIDR, IIDR, CFGR uint64 }

// ids composes the ID registers. A unit that stalls no transactions has no STALL_MAX.
func (c *Config) ids() ids {
	stalls := uint64(c.StallMax)
	if c.StallModel == spec.StallNever {
		stalls = 0
	}
	return ids{
		IDR0: spec.Idr0S2P.PutBool(c.S2P) | spec.Idr0S1P.PutBool(c.S1P) | spec.Idr0TTF.Put(spec.TTFAArch64) | spec.Idr0COHACC.Put(1) |
			spec.Idr0HTTU.Put(uint64(c.HTTU)) | spec.Idr0HYP.PutBool(c.HYP) | spec.Idr0ATS.PutBool(c.ATS) | spec.Idr0NS1ATS.PutBool(c.NS1ATS) |
			spec.Idr0ASID16.PutBool(c.ASID16) | spec.Idr0MSI.PutBool(c.MSI) | spec.Idr0SEV.PutBool(c.SEV) | spec.Idr0ATOS.PutBool(c.ATOS) | spec.Idr0VATOS.PutBool(c.VATOS) | spec.Idr0PRI.PutBool(c.PRI) |
			spec.Idr0VMW.PutBool(c.VMW) | spec.Idr0VMID16.PutBool(c.VMID16) | spec.Idr0CD2L.PutBool(c.CD2L) |
			spec.Idr0TTENDIAN.Put(uint64(c.TTENDIAN)) | spec.Idr0ATSRECERR.PutBool(c.ATSRECERR) |
			spec.Idr0StallModel.Put(uint64(c.StallModel)) | spec.Idr0TermModel.PutBool(c.TermModel) | spec.Idr0STLevel.Put(uint64(c.STLevel)),
		IDR1: spec.Idr1SIDSIZE.Put(uint64(c.SIDSIZE)) | spec.Idr1SSIDSIZE.Put(uint64(c.SSIDSIZE)) | spec.Idr1PRIQS.Put(uint64(c.PRIQS)) |
			spec.Idr1EVENTQS.Put(uint64(c.EVENTQS)) | spec.Idr1CMDQS.Put(uint64(c.CMDQS)) | spec.Idr1AttrPermsOvr.PutBool(c.AttrPermsOvr) |
			spec.Idr1AttrTypesOvr.PutBool(c.AttrTypesOvr),
		IDR2: c.idr2(),
		IDR3: spec.Idr3HAD.PutBool(c.HAD) | spec.Idr3XNX.PutBool(c.XNX) | spec.Idr3PPS.PutBool(c.PPS) | spec.Idr3FWB.PutBool(c.FWB) |
			spec.Idr3STT.PutBool(c.STT) | spec.Idr3RIL.PutBool(c.RIL) | spec.Idr3BBML.Put(uint64(c.BBML)) | spec.Idr3E0PD.PutBool(c.E0PD) |
			spec.Idr3PTWNNC.PutBool(c.PTWNNC) | spec.Idr3PASIDTT.PutBool(c.PASIDTT) | spec.Idr3EPAN.PutBool(c.EPAN) |
			spec.Idr3MTEPERM.PutBool(c.MTEPERM),
		IDR5: spec.Idr5OAS.Put(uint64(c.OAS)) | spec.Idr5GRAN4K.PutBool(c.GRAN4K) | spec.Idr5GRAN16K.PutBool(c.GRAN16K) |
			spec.Idr5GRAN64K.PutBool(c.GRAN64K) | spec.Idr5DS.PutBool(c.DS) | spec.Idr5VAX.Put(uint64(c.VAX)) | spec.Idr5StallMax.Put(stalls),
		AIDR: spec.AidrMinor.Put(uint64(c.Minor)),
		IIDR: uint64(c.IIDR),
		CFGR: c.cfgr(),
	}
}

// idr2 says where the VATOS page is.
func (c *Config) idr2() uint64 {
	if !c.VATOS {
		return 0
	}
	return spec.Idr2BAVATOS.Put(spec.BAVATOS)
}

// adopt sets the capability fields from ID registers, as far as they are modelled.
func (c *Config) adopt(r *ids) {
	c.S2P, c.S1P = spec.Idr0S2P.On(r.IDR0), spec.Idr0S1P.On(r.IDR0)
	c.HTTU = uint8(spec.Idr0HTTU.Of(r.IDR0))
	c.HYP = spec.Idr0HYP.On(r.IDR0) && c.S1P && c.S2P
	c.ATS, c.NS1ATS = spec.Idr0ATS.On(r.IDR0), spec.Idr0NS1ATS.On(r.IDR0)
	c.ASID16, c.VMID16 = spec.Idr0ASID16.On(r.IDR0), spec.Idr0VMID16.On(r.IDR0)
	c.MSI, c.SEV = spec.Idr0MSI.On(r.IDR0), spec.Idr0SEV.On(r.IDR0)
	c.Wires = c.Wires || !c.MSI
	c.PRI = spec.Idr0PRI.On(r.IDR0) && c.ATS
	c.ATOS = spec.Idr0ATOS.On(r.IDR0)
	c.VATOS = spec.Idr0VATOS.On(r.IDR0) && c.ATOS && c.S1P && c.S2P
	c.VMW = spec.Idr0VMW.On(r.IDR0)
	c.CD2L = spec.Idr0CD2L.On(r.IDR0) && c.S1P
	c.TTENDIAN = uint8(spec.Idr0TTENDIAN.Of(r.IDR0))
	c.ATSRECERR = spec.Idr0ATSRECERR.On(r.IDR0)
	c.StallModel = uint8(spec.Idr0StallModel.Of(r.IDR0))
	c.TermModel = spec.Idr0TermModel.On(r.IDR0)
	c.STLevel = uint8(min(spec.Idr0STLevel.Of(r.IDR0), spec.STLevel2))
	c.SIDSIZE, c.SSIDSIZE = uint8(spec.Idr1SIDSIZE.Of(r.IDR1)), uint8(spec.Idr1SSIDSIZE.Of(r.IDR1))
	if !c.S1P {
		c.SSIDSIZE = 0
	}
	c.CMDQS, c.EVENTQS, c.PRIQS = uint8(spec.Idr1CMDQS.Of(r.IDR1)), uint8(spec.Idr1EVENTQS.Of(r.IDR1)), uint8(spec.Idr1PRIQS.Of(r.IDR1))
	c.AttrPermsOvr, c.AttrTypesOvr = spec.Idr1AttrPermsOvr.On(r.IDR1), spec.Idr1AttrTypesOvr.On(r.IDR1)
	c.HAD, c.XNX, c.PPS = spec.Idr3HAD.On(r.IDR3), spec.Idr3XNX.On(r.IDR3) && c.S2P, spec.Idr3PPS.On(r.IDR3)
	c.FWB, c.STT, c.RIL = spec.Idr3FWB.On(r.IDR3) && c.S2P, spec.Idr3STT.On(r.IDR3), spec.Idr3RIL.On(r.IDR3)
	c.BBML = uint8(min(spec.Idr3BBML.Of(r.IDR3), spec.MaxBBML))
	c.E0PD, c.PTWNNC, c.EPAN = spec.Idr3E0PD.On(r.IDR3), spec.Idr3PTWNNC.On(r.IDR3), spec.Idr3EPAN.On(r.IDR3)
	c.MTEPERM = spec.Idr3MTEPERM.On(r.IDR3)
	c.PASIDTT = spec.Idr3PASIDTT.On(r.IDR3) && c.SSIDSIZE != 0
	c.OAS = uint8(min(spec.Idr5OAS.Of(r.IDR5), spec.OAS52))
	c.GRAN4K, c.GRAN16K, c.GRAN64K = spec.Idr5GRAN4K.On(r.IDR5), spec.Idr5GRAN16K.On(r.IDR5), spec.Idr5GRAN64K.On(r.IDR5)
	c.VAX = uint8(min(spec.Idr5VAX.Of(r.IDR5), spec.VAX52))
	c.DS = spec.Idr5DS.On(r.IDR5) && c.VAX == spec.VAX52 && (c.GRAN4K || c.GRAN16K)
	if !c.GRAN64K && !c.DS {
		c.OAS, c.VAX = min(c.OAS, spec.OAS52-1), spec.VAX48
	}
	c.StallMax = uint16(min(spec.Idr5StallMax.Of(r.IDR5), MaxStalls))
	if c.StallModel != spec.StallNever {
		c.StallMax = max(c.StallMax, 1)
	}
	c.adoptCounters(r.CFGR)
	c.Minor, c.IIDR = uint8(min(spec.AidrMinor.Of(r.AIDR), spec.MaxMinor)), uint32(r.IIDR)
	had := c.HAD // QEMU says so without stage 1 too, where it means nothing
	c.settle()
	c.HAD = had
}

// limits is what translation needs of the capabilities, worked out once.
type limits struct {
	oas       uint8        // output address bits; those of intermediate addresses are the same
	granule   [4]bool      // that the unit has, by regime code
	walk      [2]uint64    // of Walk and Walk2, bit lg2: a cache for that region size exists
	tables    [2]uint64    // walk, of a unit that sees conflicts, else 0
	formats   *[128]format // of regimes
	s1Regimes [256]regime  // of stage 1, see s1Regime
	refuses   bool         // there are transactions that the unit does not support
	types     uint64       // bits of W1 of an STE that replace memory attributes
	unusual   uint64       // those that Lookup leaves to Step
}

func (u *Unit) setLimits() {
	c := &u.cfg
	u.lim = limits{
		oas: spec.OASBits(uint64(c.OAS)), granule: [4]bool{false, c.GRAN4K, c.GRAN16K, c.GRAN64K},
		walk: [2]uint64{regions(c.Walk), regions(c.Walk2)}, formats: &formats[0],
		refuses: c.NoCrossing || c.NoAtomics,
	}
	for i := range uint64(256) {
		g := spec.GranuleTG0(i)
		if i&4 != 0 {
			g = spec.GranuleTG1(i)
		}
		u.lim.s1Regimes[i] = u.makeRegime(g, c.DS && i&0x80 != 0, i&0x40 != 0, min(i>>3&7, uint64(c.OAS)))
	}
	if c.AttrTypesOvr {
		u.lim.types = steTypes
	}
	u.lim.unusual = u.lim.types | steIllegal.Mask()
	if c.conflicts() {
		u.lim.tables = u.lim.walk
	}
	if c.HTTU == spec.HTTUTable {
		u.lim.formats = &formats[1]
	}
}

// fillsWalk reports whether a walk with flags aux fills the cache of Walk (0) or Walk2 (1) for regions of 2^lg2
// bytes.
func (u *Unit) fillsWalk(aux, walk uint64, lg2 uint8) bool {
	return u.lim.walk[walk&1]>>lg2&1 != 0 && !auxPassive.On(aux)
}

// regions returns a bit map of the region sizes for which caches have entries.
func regions(levels []iotlb.Level) (m uint64) {
	for _, l := range levels {
		if l.Sets*l.Ways != 0 {
			m |= 1 << (l.Lg2 & 63)
		}
	}
	return m
}

// ones returns a word with the n lowest bits set.
func ones(n uint8) uint64 { return reg.Ones(n) }
