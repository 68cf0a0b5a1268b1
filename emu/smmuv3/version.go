package smmuv3

import (
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// A version is a sum over the fields that steer translation, each word of them times an odd number of
// its own. So the versions of the stages add up, and what a cache kept of one of them can be put in its
// place.
const (
	verConfig = 0x9e37_79b9_7f4a_7c15
	verS2A    = 0x94d0_49bb_1331_11eb
	verS2B    = 0xff51_afd7_ed55_8ccd
	verCD0    = 0xc4ce_b9fe_1a85_ec53
	verCD1    = 0xa076_1d64_78bd_642f
	verCD2    = 0xe703_7ed1_a0b4_28db
)

// s2Word2 are the fields of stage 2 in the third word of an STE, but for the VMID; s2Word3 those in the
// fourth.
const (
	s2Word2 = 0x1ff<<48 | 0xffff<<32 | 1<<59 // T0SZ to HA, HAFT; not S, R
	s2Word3 = 1<<2 | 1<<3 | 0x0000_ffff_ffff_fff0 | 0xf<<48
)

// cdMask are the fields of a CD that steer translation, by EPD1 and EPD0: a half that is not walked does
// not count. What happens to faults (A, R, S) does not either.
var cdMask = [4][3]uint64{
	cdFields(0), cdFields(1), cdFields(2), cdFields(3),
}

func cdFields(epd int) [3]uint64 {
	drop := uint64(spec.CdA.Mask() | spec.CdR.Mask() | spec.CdS.Mask() | spec.CdASET.Mask() | spec.CdUWXN.Mask())
	for _, b := range []uint64{spec.CdIR0.Mask(), spec.CdOR0.Mask(), spec.CdSH0.Mask(), spec.CdIR1.Mask(), spec.CdOR1.Mask(), spec.CdSH1.Mask()} {
		drop |= b
	}
	lower := spec.CdTTB0.Mask() | spec.CdHAD0.Mask() | spec.CdE0PD0.Mask()
	upper := spec.CdTTB1.Mask() | spec.CdHAD1.Mask() | spec.CdE0PD1.Mask()
	if epd&1 != 0 {
		drop |= spec.CdT0SZ.Mask() | spec.CdTG0.Mask()
		lower = 0
	}
	if epd&2 != 0 {
		drop |= spec.CdT1SZ.Mask() | spec.CdTG1.Mask()
		upper = 0
	}
	return [3]uint64{^drop, lower | spec.CdHAFT.Mask() | spec.CdEPAN.Mask(), upper | spec.CdDS.Mask()}
}

// Version returns the version of what translates a transaction (Provenance.Entry): of its STE, and of its
// CD where stage 1 translates, else nil. Versions are equal for entries that translate alike; others
// differ, but for one pair in 2^64. Where the entries are, and what only faults, attributes and ATS use,
// is left out: streams that share translations share versions.
func Version(ste, cd []uint64) uint64 {
	v := s1Version(ste, cd)
	if spec.SteConfig.Of(ste[0])&6 == 6 {
		v += s2Version(ste)
	}
	return v
}

// s1Version is Version but for stage 2.
func s1Version(ste, cd []uint64) uint64 {
	c := spec.SteConfig.Of(ste[0])
	if !spec.SteV.On(ste[0]) || c&4 == 0 {
		return verConfig
	}
	v := configVersion(ste[0], ste[1], ste[2])
	if cd == nil || c == spec.ConfigBypass {
		return v
	}
	return v + cdVersion((*[3]uint64)(cd))
}

// configMask is what configVersion takes of Config, STRW and VMID, by Config and STRW. Translations of streams
// that are not EL1 have no VMID.
var configMask = func() (m [32]uint64) {
	const config, strw, vmid = 0x0f, 0x30, 0xffff00
	for i := range m {
		m[i] = config | vmid
		switch c, w := i&7, i>>3; {
		case c == spec.ConfigBypass:
			m[i] = config
		case c == spec.ConfigS1 && w != spec.STRWEL1:
			m[i] = config | strw
		case c == spec.ConfigS1:
			m[i] = config | strw | vmid
		}
	}
	return m
}()

// configVersion is the part of the words of an STE that is not about stage 2, but for those that abort.
func configVersion(w0, w1, w2 uint64) uint64 {
	c, strw := w0>>1&7, w1>>30&3 // Config and STRW: by their names this would not be inlined
	v := c + 1 | strw<<4 | w2&0xffff<<8
	return v & configMask[c|strw<<3] * verConfig
}

// cdVersion is the part of a CD.
func cdVersion(cd *[3]uint64) uint64 {
	m := &cdMask[spec.CdEPD0.Of(cd[0])|spec.CdEPD1.Of(cd[0])<<1]
	return (cd[0]&m[0])*verCD0 + (cd[1]&m[1])*verCD1 + (cd[2]&m[2])*verCD2
}

// s2Version is the part of stage 2.
func s2Version(ste []uint64) uint64 { return (ste[2]&s2Word2)*verS2A + (ste[3]&s2Word3)*verS2B }
