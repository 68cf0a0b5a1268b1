package vtd_test

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Bits of first-stage entries.
const (
	fsP   = uint64(1)
	fsW   = uint64(1 << 1)
	fsU   = uint64(1 << 2)
	fsA   = uint64(1 << 5)
	fsD   = uint64(1 << 6)
	fsPS  = uint64(1 << 7)
	fsEA  = uint64(1 << 10)
	fsXD  = uint64(1 << 63)
	fsRWU = fsP | fsW | fsU
)

// first gives (s, p) a PASID entry with first-stage translation and returns its table.
func (r *rig) first(s emu.SourceID, p emu.PASID, did uint64, set ...func(e []uint64)) emu.PA {
	top := r.Page()
	e := make([]uint64, 8)
	spec.PasidP.Set(e, 1)
	spec.PasidPGTT.Set(e, spec.PGTTFirst)
	spec.PasidDID.Set(e, did)
	spec.PasidPWSNP.Set(e, 1)
	e[2] |= uint64(top)
	for _, f := range set {
		f(e)
	}
	r.Put(r.pasidEntry(s, p), e...)
	return top
}

// fsEntry returns where the entry for va at a level is, making tables below the table top of that
// many levels. Their flags are clear.
func (r *rig) fsEntry(top emu.PA, levels int, va uint64, level int) emu.PA {
	for l := levels - 1; ; l-- {
		at := top + emu.PA(va>>(12+9*l)&511)*8
		if l == level {
			return at
		}
		if r.Get(at) == 0 {
			r.Put(at, uint64(r.Page())|fsRWU)
		}
		top = emu.PA(r.Get(at) & spec.FSADDR.Mask())
	}
}

// fsMap maps one 4 KiB page in a table of four levels and returns where its entry is.
func (r *rig) fsMap(top emu.PA, va, pa, bits uint64) emu.PA {
	at := r.fsEntry(top, 4, va, 0)
	r.Put(at, pa|bits)
	return at
}

// ones returns fields set to 1.
func ones(bits ...reg.Bits) func([]uint64) {
	return func(e []uint64) {
		for _, b := range bits {
			b.Set(e, 1)
		}
	}
}

// asPriv, asExec: what a request asks for besides.
const (
	asPriv = emu.Read | emu.Priv
	asExec = emu.Read | emu.Exec
)

func noScalable(c *vtd.Config) { c.NoScalable() }
