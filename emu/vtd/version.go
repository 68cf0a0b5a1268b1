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

// PASIDVersion returns the version of a PASID table entry, as ContextVersion does.
func PASIDVersion(words []uint64) uint64 {
	w0, w2 := words[0], words[2]
	v := verScalable.Mask() | verDID.Put(spec.PasidDID.Of(words[1])) | verType.Put(spec.PasidPGTT.Of(w0))
	switch spec.PasidPGTT.Of(w0) {
	case spec.PGTTSecond:
		v |= verTable.Put(w0>>12) | verAW.Put(spec.PasidAW.Of(w0)) | verSSEE.Put(spec.PasidSSEE.Of(w0))
	case spec.PGTTFirst:
		v |= verTable.Put(w2>>12) | verFSPM.Put(spec.PasidFSPM.Of(w2)) | verNXE.Put(spec.PasidNXE.Of(w2)) |
			verWPE.Put(spec.PasidWPE.Of(w2)) | verSMEP.Put(spec.PasidSMEP.Of(w2))
	}
	return v
}
