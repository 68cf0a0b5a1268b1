package entry

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// AMDVi makes the formats of AMD-Vi. It holds what legality depends on.
type AMDVi struct {
	EFR uint64 // Extended Feature Register
	HAW uint8  // physical address width; 0 is 52
}

// DTE describes a device table entry (2.2.2.1). Hardware reads its 32 bytes at once; software stores 16 of
// them at a time. The first unit has all of the memory side but GuestPagingMode, which counts only with
// GV=1; the second is the interrupt side, of which a request for memory uses nothing.
//
// It is blocking with V=1 and TV=0, or without any right; V=0 lets requests pass, and is no blocking
// form. Entries of a GCR3 table may be cached by device and PASID: see Format.Below. IR and IW are not cached
// with translations: see Format.Across.
func (v AMDVi) DTE() *Format {
	l := &spec.DTELayout
	return &Format{
		Name: l.Name, Words: l.Words(), Unit: 16, Whole: true, Handshake: true, ID: spec.DteDomainID,
		Used: usedDTE, Present: presentDTE, Block: blockDTE, Pass: passDTE, Below: belowDTE, Across: acrossDTE, Legal: v.legalDTE,
		Apart:  dteInterrupts[:],
		Safe:   []uint64{0, spec.DteSE.Mask() | spec.DteSA.Mask(), spec.DteIG.Mask(), 0},
		Fields: func(mask []uint64) []string { return fieldNames(l, mask) },
		linux:  linuxDTE,
	}
}

// GCR3 describes an entry of a GCR3 table (2.2.6): one store holds all of it.
func (v AMDVi) GCR3() *Format {
	l := &spec.GCR3Layout
	return &Format{
		Name: l.Name, Words: 1, Unit: 8, Handshake: true,
		Used: func(raw, mask []uint64) {
			if usedIfPresent(raw, mask, spec.Gcr3V.Mask()) {
				mask[0] = ^uint64(0)
			}
		},
		Present: func(raw []uint64) bool { return spec.Gcr3V.On(raw[0]) },
		Block:   func(raw []uint64) { raw[0] &^= spec.Gcr3V.Mask() },
		Legal: func(raw []uint64) error {
			if !spec.Gcr3V.On(raw[0]) {
				return nil
			}
			return clean(l, raw, v.HAW, spec.Gcr3Addr)
		},
		Fields: func(mask []uint64) []string { return fieldNames(l, mask) },
		linux:  linuxGCR3,
	}
}

// Bits of a DTE by what makes them count.
var (
	dteHost   = maskOfAll(spec.DteMode, spec.DteHostRoot, spec.DteIR, spec.DteIW, spec.DteDomainID) // TV
	dteGuest  = maskOfAll(spec.DteGIoV, spec.DteGLX, spec.DteGCR3Lo, spec.DteGCR3Mid, spec.DteGCR3Hi)
	dteRights = maskOfAll(spec.DteIR, spec.DteIW)
	dteGCR3   = maskOfAll(spec.DteGCR3Lo, spec.DteGCR3Mid, spec.DteGCR3Hi)
	dteAttr   = maskOfAll(spec.DteAttrV, spec.DteMode0FC, spec.DteSnoopAttribute)
	// The interrupt side: the upper half, but for what belongs to memory.
	dteInterrupts = spec.DTE{2: ^maskOfAll(spec.DteGuestPagingMode, spec.DteHPTMode)[2], 3: ^dteAttr[3]}
)

func maskOfAll(fields ...reg.Bits) (m spec.DTE) {
	for _, b := range fields {
		b.Set(m[:], ^uint64(0))
	}
	return m
}

// usedDTE marks the bits by V, TV, Mode, GV and IV. Hints (Cache, HPTMode) never count.
func usedDTE(raw, mask []uint64) {
	mask[2] = spec.DteIV.Mask()
	if spec.DteIV.On(raw[2]) {
		mask[2] = ^(spec.DteGuestPagingMode.Mask() | spec.DteHPTMode.Mask())
		mask[3] = ^dteAttr[3]
	}
	mask[0] = spec.DteV.Mask()
	if !spec.DteV.On(raw[0]) {
		return
	}
	mask[0], mask[1] = ^uint64(0), ^spec.DteCache.Mask()
	drop := func(m *spec.DTE) {
		mask[0] &^= m[0]
		mask[1] &^= m[1]
	}
	if !spec.DteGV.On(raw[0]) {
		drop(&dteGuest)
	} else {
		mask[2] |= spec.DteGuestPagingMode.Mask()
	}
	if !spec.DteTV.On(raw[0]) {
		drop(&dteHost)
		drop(&dteGCR3)
		mask[0] &^= spec.DteGIoV.Mask()
		return
	}
	if spec.DteMode.Of(raw[0]) == spec.ModeIdentity {
		mask[0] &^= spec.DteHostRoot.Mask()
	}
	mask[3] |= spec.DteAttrV.Mask()
	if spec.DteAttrV.On(raw[3]) {
		mask[3] |= dteAttr[3]
	}
}

// presentDTE reports whether some request for memory can pass: with V=0 all do, with I=1 translated ones.
func presentDTE(raw []uint64) bool {
	const rights = 3 << 61 // IR and IW
	return !spec.DteV.On(raw[0]) || spec.DteI.On(raw[1]) || spec.DteTV.On(raw[0]) && raw[0]&rights != 0
}

// blockDTE leaves of the memory side what does not belong to a domain: what firmware has asked for.
func blockDTE(raw []uint64) {
	raw[0] = spec.DteV.Mask()
	raw[1] &= spec.DteSE.Mask() | spec.DteSA.Mask() | spec.DteIoCtl.Mask() | spec.DteCache.Mask() | spec.DteSD.Mask() |
		spec.DteEX.Mask() | spec.DteSysMgt.Mask()
}

// passDTE clears V, and what it makes count.
func passDTE(raw []uint64) { raw[0], raw[1] = 0, 0 }

// belowDTE returns raw with the GCR3 table of other: a cache of GCR3 entries may know the device and the
// PASID only, so that what it took from one table is found under an entry that names another.
func belowDTE(raw, other []uint64) []uint64 {
	const guest = 1<<55 | 3 // GV, TV, V
	if raw[0]&other[0]&guest != guest {
		return nil
	}
	e := slices.Clone(raw)
	for i, m := range dteGCR3 {
		e[i] = e[i]&^m | other[i]&m
	}
	return e
}

// acrossDTE returns other with the rights of raw, if both have one id: what a translation grants is what its tables
// do, and what the entry does that was read. An entry without rights makes no translation, and lets none pass.
func acrossDTE(raw, other []uint64) []uint64 {
	const valid = 3 // TV, V
	if raw[0]&other[0]&valid != valid || raw[0]&dteRights[0] == 0 || other[0]&dteRights[0] == 0 ||
		spec.DteDomainID.Get(raw) != spec.DteDomainID.Get(other) {
		return nil
	}
	e := slices.Clone(other)
	e[0] = e[0]&^dteRights[0] | raw[0]&dteRights[0]
	return e
}

// legalDTE checks an entry as 2.2.2.1 has it.
func (v AMDVi) legalDTE(raw []uint64) error {
	if spec.DteIV.On(raw[2]) {
		if err := v.legalInterrupts(raw); err != nil {
			return err
		}
	}
	if !spec.DteV.On(raw[0]) {
		return nil
	}
	e := (*spec.DTE)(raw)
	for _, b := range []capBit{
		{spec.DteGV, spec.EfrGTSup}, {spec.DteGIoV, spec.EfrGIoSup}, {spec.DteHAD, spec.EfrHASup},
		{spec.DtePPR, spec.EfrEPHSup}, {spec.DteGPRP, spec.EfrEPHSup}, {spec.DteSATS, spec.EfrSATSSup},
	} {
		if b.bit.Get(raw) != 0 && !b.cap.On(v.EFR) {
			return fmt.Errorf("%v is not supported by this unit", fieldNames(&spec.DTELayout, maskOf(b.bit, len(raw))))
		}
	}
	switch had := spec.DteHAD.Of(raw[0]); {
	case e.TV() && uint64(e.Mode()) > 4+spec.EfrHATS.Of(v.EFR):
		return fmt.Errorf("host table of %d levels, the unit has %d", e.Mode(), 4+spec.EfrHATS.Of(v.EFR))
	case had == 2, had == spec.HADAD && !spec.EfrHDSup.On(v.EFR):
		return fmt.Errorf("HAD=%d is not supported by this unit", had)
	case spec.DteIoCtl.Of(raw[1]) == 3:
		return fmt.Errorf("IoCtl=3 is reserved")
	case e.GV() && uint64(e.GLX()) > spec.EfrGLXSup.Of(v.EFR):
		return fmt.Errorf("GLX=%d, the unit has %d", e.GLX(), spec.EfrGLXSup.Of(v.EFR))
	case e.GV() && uint64(e.GuestPagingMode()) > spec.EfrGATS.Of(v.EFR):
		return fmt.Errorf("GuestPagingMode=%d is not supported by this unit", e.GuestPagingMode())
	}
	if err := v.width("GCR3 table", emu.PA(e.GCR3Root())); err != nil && e.GV() {
		return err
	}
	return clean(&spec.DTELayout, []uint64{raw[0], raw[1], 0, 0}, v.HAW, spec.DteHostRoot)
}

// legalInterrupts checks the interrupt side.
func (v AMDVi) legalInterrupts(raw []uint64) error {
	e := (*spec.DTE)(raw)
	switch ctl := spec.DteIntCtl.Of(raw[2]); {
	case ctl == 3:
		return fmt.Errorf("IntCtl=3 is reserved")
	case ctl == spec.IntCtlRemap && spec.DteIntTabLen.Of(raw[2]) > spec.MaxIntTabLen:
		return fmt.Errorf("IntTabLen=%d, want at most %d", spec.DteIntTabLen.Of(raw[2]), spec.MaxIntTabLen)
	}
	if err := v.width("interrupt table", e.IRTRoot()); err != nil {
		return err
	}
	return clean(&spec.DTELayout, []uint64{0, 0, raw[2], raw[3]}, v.HAW)
}

// width checks the width of an address that is in pieces.
func (v AMDVi) width(what string, pa emu.PA) error {
	if v.HAW != 0 && pa>>v.HAW != 0 {
		return fmt.Errorf("%s at %#x is wider than %d bits", what, uint64(pa), v.HAW)
	}
	return nil
}
