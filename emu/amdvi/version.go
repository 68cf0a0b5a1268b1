package amdvi

import (
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// Versions hold the fields that steer translation. Those of a DTE with host tables fit, 40 bits of
// root, 16 of domain, 3 of mode and 3 of rights; those of one with guest tables are hashed.
const (
	verRoot reg.Bits = 39_000
	verDID  reg.Bits = 55_040
	verMode reg.Bits = 58_056
	verIR   reg.Bits = 59_059
	verIW   reg.Bits = 60_060
	verEX   reg.Bits = 61_061
	verKind reg.Bits = 63_062

	verPass  = 0 // values of verKind; verMode is 1 for blocked
	verHost  = 1
	verGuest = 2
	verSlot  = 3
)

// DTEVersion returns the version of a device table entry (Provenance.Entry): equal for two entries if
// and only if both translate alike, but for entries with guest tables, where 62 bits of hash stand
// for 150 bits of fields. What an entry of its kind does not use is left out, and so is what only
// interrupts, ATS and events use.
func DTEVersion(words []uint64) uint64 {
	w0, w1 := words[0], words[1]
	ex := verEX.Put(spec.DteEX.Of(w1))
	switch {
	case !spec.DteV.On(w0):
		return verKind.Put(verPass)
	case !spec.DteTV.On(w0):
		return verKind.Put(verPass) | verMode.Put(1) | ex
	}
	v := verDID.Put(spec.DteDomainID.Of(w1)) | verMode.Put(spec.DteMode.Of(w0)) |
		verIR.Put(spec.DteIR.Of(w0)) | verIW.Put(spec.DteIW.Of(w0)) | ex
	if spec.DteMode.Of(w0) != spec.ModeIdentity {
		v |= verRoot.Put(spec.DteHostRoot.Of(w0))
	}
	if !spec.DteGV.On(w0) {
		return v | verKind.Put(verHost)
	}
	e := spec.DTE{w0, w1}
	g := e.GCR3Root() | spec.DteGLX.Of(w0) | spec.DteGIoV.Of(w0)<<2 | spec.DteGuestPagingMode.Of(words[2])<<3
	return mix(v, g)&^verKind.Mask() | verKind.Put(verGuest)
}

// GCR3Version returns the version of a GCR3 table entry: Provenance.Entry of requests with PASID.
func GCR3Version(slot uint64) uint64 {
	return slot&spec.Gcr3Addr.Mask() | spec.Gcr3V.Of(slot) | verKind.Put(verSlot)
}

// mix hashes two words into one.
func mix(a, b uint64) uint64 {
	h := a*0x9e37_79b9_7f4a_7c15 ^ b
	for range 2 {
		h ^= h >> 32
		h *= 0xd6e8_feb8_6659_fd93
	}
	return h ^ h>>32
}
