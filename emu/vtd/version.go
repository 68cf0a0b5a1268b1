package vtd

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Versions hold the fields that steer translation: 40 bits of table pointer, 16 of domain, 3 of
// width or mode, 3 of type, one that tells scalable from legacy mode, and one more flag.
const (
	verTable    reg.Bits = 39_000
	verDID      reg.Bits = 55_040
	verAW       reg.Bits = 58_056
	verType     reg.Bits = 61_059
	verScalable reg.Bits = 62_062
	verSSEE     reg.Bits = 63_063 // second stage

	verFSPM reg.Bits = 56_056 // first stage, in the place of AW
	verNXE  reg.Bits = 57_057
	verWPE  reg.Bits = 58_058
	verSMEP reg.Bits = 63_063
)

// ContextVersion returns the version of a legacy context entry (Provenance.Entry): equal for two
// entries if and only if both translate alike. What an entry of its type does not use is left out.
func ContextVersion(words []uint64) uint64 {
	e := spec.ContextEntry{words[0], words[1]}
	v := verDID.Put(uint64(e.DID())) | verType.Put(uint64(e.TT()))
	if e.TT() != spec.TTPassThrough {
		v |= verTable.Put(uint64(e.SSPTPTR())>>12) | verAW.Put(uint64(e.AW()))
	}
	return v
}

// PASIDVersion returns the version of a PASID table entry, as ContextVersion does. For nested
// translation two words do not fit into one: versions of entries that differ in their first stage
// only are different, others are with a probability of 1-2^-60.
func PASIDVersion(words []uint64) uint64 {
	e := [4]uint64{words[0], words[1], words[2]}
	w0, w2 := e[0], e[2]
	switch pgtt := spec.PasidPGTT.Of(w0); pgtt {
	case spec.PGTTSecond:
		return secondVersion(&e)
	case spec.PGTTNested:
		return nestedVersion(firstVersion(&e), secondVersion(&e))
	case spec.PGTTFirst:
		return verScalable.Mask() | verType.Put(pgtt) | verDID.Put(spec.PasidDID.Of(e[1])) |
			verTable.Put(w2>>12) | verFSPM.Put(spec.PasidFSPM.Of(w2)) | verNXE.Put(spec.PasidNXE.Of(w2)) |
			verWPE.Put(spec.PasidWPE.Of(w2)) | verSMEP.Put(spec.PasidSMEP.Of(w2))
	default:
		return verScalable.Mask() | verType.Put(pgtt) | verDID.Put(spec.PasidDID.Of(e[1]))
	}
}

// secondVersion is the version of the second stage of an entry, its type and domain included.
func secondVersion(words *[4]uint64) uint64 {
	w := words[0]
	return verScalable.Mask() | verType.Put(spec.PasidPGTT.Of(w)) | verDID.Put(spec.PasidDID.Of(words[1])) |
		verTable.Put(w>>12) | verAW.Put(spec.PasidAW.Of(w)) | verSSEE.Put(spec.PasidSSEE.Of(w))
}

// firstVersion is the version of the first stage of an entry for nested translation: the pointer,
// below 2^57 if anything is translated by it, and the flags below it.
func firstVersion(words *[4]uint64) uint64 {
	flags := spec.PasidFSPM.Mask() | spec.PasidWPE.Mask() | spec.PasidNXE.Mask() | spec.PasidSMEP.Mask()
	return words[2] & (spec.PasidFSPTPTR.Mask() | flags)
}

// nestedVersion makes one version of those of both stages: the first one plus a bijective mix of the
// second one, the type in place of three bits that say nothing more.
func nestedVersion(first, second uint64) uint64 {
	x := second
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	x ^= x >> 31
	tag := verScalable.Mask() | verType.Mask()
	return (first+x)&^tag | verScalable.Mask() | verType.Put(spec.PGTTNested)
}
