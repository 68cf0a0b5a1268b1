package smmuv3

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// regime says what the descriptors of a stage look like, as its CD or STE has it.
type regime uint8

const (
	regGranule reg.Bits = 1_000 // as TG of TLB invalidations
	regDS      reg.Bits = 2_002
	regBE      reg.Bits = 3_003
	regOut     reg.Bits = 6_004 // output size, as IDR5.OAS
)

// granules are the granules of a regime's codes, codes the inverse.
var (
	granules = [4]spec.Granule{0, spec.Granule4K, spec.Granule16K, spec.Granule64K}
	codes    = [32]uint64{spec.Granule4K: 1, spec.Granule16K: 2, spec.Granule64K: 3}
)

func (r regime) granule() spec.Granule { return granules[r&3] }

// out returns the output address bits.
func (r regime) out() uint8 { return spec.OASBits(regOut.Of(uint64(r))) }

// ds reports whether descriptors have addresses of 52 bits.
func (r regime) ds() bool { return regDS.On(uint64(r)) }

// order brings a descriptor from memory's byte order to ours, or back.
func (r regime) order(e uint64) uint64 {
	if regBE.On(uint64(r)) {
		return swapBytes(e)
	}
	return e
}

// makeRegime packs a regime. With 64K granules descriptors have 52 bits of address if the unit has.
func (u *Unit) makeRegime(g spec.Granule, ds, be bool, out uint64) regime {
	if g == spec.Granule64K {
		ds = u.cfg.OAS == spec.OAS52
	}
	return regime(regGranule.Put(codes[g&31]) | regDS.PutBool(ds) | regBE.PutBool(be) | regOut.Put(out))
}

// s1Regime returns the regime of a half of stage 1.
func (u *Unit) s1Regime(cd *[3]uint64, upper bool) regime {
	tg := spec.CdTG0.Of(cd[0])
	if upper {
		tg = spec.CdTG1.Of(cd[0]) | 4
	}
	return u.lim.s1Regimes[(tg|spec.CdIPS.Of(cd[0])<<3|spec.CdENDI.Of(cd[0])<<6|spec.CdDS.Of(cd[2])<<7)&0xff]
}

// s2Regime returns the regime of stage 2, from the third and fourth word of an STE.
func (u *Unit) s2Regime(w2, w3 uint64) regime {
	out := min(spec.SteS2PS.Of(w2), uint64(u.cfg.OAS))
	return u.makeRegime(spec.GranuleTG0(spec.SteS2TG.Of(w2)), u.cfg.DS && spec.SteS2DS.On(w3), spec.SteS2ENDI.On(w2), out)
}

// has reports whether the unit has the granule of r.
func (u *Unit) has(r regime) bool { return u.lim.granule[r&3] }

// fits reports whether a table's address is one that r and its output size allow.
func (r regime) fits(table uint64) bool {
	if table>>r.out() != 0 {
		return false
	}
	return table>>48 == 0 || r.ds()
}

// largestTSZ returns the largest TxSZ or S2T0SZ of a granule.
func (u *Unit) largestTSZ(g spec.Granule) uint64 {
	switch {
	case !u.cfg.STT:
		return 39
	case g == spec.Granule64K:
		return 47
	}
	return 48
}

// s2Geometry returns what a stage 2 configuration says of its tables: input bits and start level. ok is
// false where they do not fit each other (5.2, S2T0SZ and S2SL0).
func (u *Unit) s2Geometry(w2, w3 uint64, r regime) (in uint8, level int8, ok bool) {
	tsz, g := spec.SteS2T0SZ.Of(w2), r.granule()
	least := uint64(16)
	if g == spec.Granule64K || r.ds() {
		least = 12
	}
	if tsz > u.largestTSZ(g) || tsz < max(least, uint64(64-u.lim.oas)) {
		return 0, 0, false
	}
	sl0 := spec.SteS2SL0.Of(w2)
	if g != spec.Granule64K && r.ds() && spec.SteS2SL02.On(w3) {
		sl0 |= 4
	}
	level, ok = spec.S2StartLevel(g, sl0)
	switch {
	case !ok, sl0 > 4,
		g == spec.Granule4K && level == spec.LevelPage && !u.cfg.STT,
		g == spec.Granule16K && sl0 == 3 && !r.ds():
		return 0, 0, false
	}
	in = uint8(64 - tsz)
	index := int(in) - int(g.Shift(level))
	return in, level, index >= 1 && index <= int(g.Stride())+spec.MaxConcatenated
}
