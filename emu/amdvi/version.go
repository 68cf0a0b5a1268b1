package amdvi

import (
	"math/bits"

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
	w0, w1, w2 := words[0], words[1], words[2]
	ex := verEX.Put(spec.DteEX.Of(w1))
	switch {
	case !spec.DteV.On(w0):
		return verKind.Put(verPass)
	case !spec.DteTV.On(w0):
		return verKind.Put(verPass) | verMode.Put(1) | ex
	}
	if spec.DteGV.On(w0) {
		return guestVersion(w0, w1, w2)
	}
	v := verDID.Put(spec.DteDomainID.Of(w1)) | verMode.Put(spec.DteMode.Of(w0)) |
		verIR.Put(spec.DteIR.Of(w0)) | verIW.Put(spec.DteIW.Of(w0)) | ex
	if spec.DteMode.Of(w0) != spec.ModeIdentity {
		v |= verRoot.Put(spec.DteHostRoot.Of(w0))
	}
	return v | verKind.Put(verHost)
}

// gpmPlace is a place in word 1 of a DTE that nothing which steers translation uses.
const gpmPlace reg.Bits = 33_032

// guestVersion hashes what steers translation under a DTE with guest tables.
func guestVersion(w0, w1, w2 uint64) uint64 {
	m0 := spec.DteMode.Mask() | spec.DteGIoV.Mask() | spec.DteGLX.Mask() | spec.DteGCR3Lo.Mask() | spec.DteIR.Mask() | spec.DteIW.Mask()
	if spec.DteMode.Of(w0) != spec.ModeIdentity {
		m0 |= spec.DteHostRoot.Mask()
	}
	m1 := spec.DteDomainID.Mask() | spec.DteGCR3Mid.Mask() | spec.DteEX.Mask() | spec.DteGCR3Hi.Mask()
	h := mix(w0&m0, w1&m1|gpmPlace.Put(spec.DteGuestPagingMode.Of(w2)))
	return h&^verKind.Mask() | verKind.Put(verGuest)
}

// GCR3Version returns the version of a GCR3 table entry: Provenance.Entry of requests with PASID.
func GCR3Version(slot uint64) uint64 {
	return slot&spec.Gcr3Addr.Mask() | spec.Gcr3V.Of(slot) | verKind.Put(verSlot)
}

// mix hashes two words into one.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e37_79b9_7f4a_7c15, b^0xd6e8_feb8_6659_fd93)
	return hi ^ lo
}
