package vtd

import (
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Versions hold the fields that steer translation: 40 bits of table pointer, 16 of domain, 3 of
// width, 3 of type, and one that tells scalable from legacy mode.
const (
	verTable    reg.Bits = 39_000
	verDID      reg.Bits = 55_040
	verAW       reg.Bits = 58_056
	verType     reg.Bits = 61_059
	verScalable reg.Bits = 62_062
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

// PASIDVersion returns the version of a PASID table entry, as ContextVersion does. The pointer is
// that of the second stage, or of the first stage for entries without a second one.
func PASIDVersion(words []uint64) uint64 {
	e := spec.PASIDEntry{words[0], words[1], words[2]}
	v := verScalable.Put(1) | verDID.Put(uint64(e.DID())) | verType.Put(uint64(e.PGTT()))
	switch e.PGTT() {
	case spec.PGTTSecond, spec.PGTTNested:
		v |= verTable.Put(uint64(e.SSPTPTR())>>12) | verAW.Put(uint64(e.AW()))
	case spec.PGTTFirst:
		v |= verTable.Put(e.FSPTPTR()>>12) | verAW.Put(uint64(e.FSPM()))
	}
	return v
}
