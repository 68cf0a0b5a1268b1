package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// shape is what the device table entry of a device depends on.
type shape struct {
	rid    *driver.Domain // of requests without PASID; nil: they are blocked
	own    bool           // PASIDs are in use: the GCR3 table and the id are the device's own
	base   *driver.Domain // host tables that guest tables lie on, or nil
	levels uint8          // of guest tables, 0: there are none
	left   *spec.DTE      // what an earlier system has left, if PASIDs still go by it
}

// isGuest reports whether m is a domain with guest tables.
func isGuest(m *driver.Domain) bool { return m != nil && m.First }

// shapeWith returns the shape of v if (v, pasid) had m, which may be nil.
func (d *Driver) shapeWith(v *device, pasid emu.PASID, m *driver.Domain) (s shape) {
	if d.leftPASIDs(v, pasid) {
		s.own, s.left = true, &left(d.k.Left(v.SID)).dte
	}
	see := func(p emu.PASID, m *driver.Domain) {
		if isGuest(m) {
			s.base, s.levels = m.Parent, guestOf(m).levels
		}
		switch {
		case m == nil:
		case p != emu.NoPASID:
			s.own = true
		case m.Kind() != host.DomainBlocked:
			s.rid = m
		}
	}
	for p, has := range v.Domains {
		if p != pasid {
			see(p, has)
		}
	}
	see(pasid, m)
	return s
}

// dteWords makes a device table entry (2.2.2.1).
func (d *Driver) dteWords(v *device, s shape) []uint64 {
	e := *v.fixed
	if s.rid == nil && !s.own {
		return e[:]
	}
	e[0] |= spec.DteTV.Mask() | spec.DteIR.Mask() | spec.DteIW.Mask() | spec.DtePPR.PutBool(v.PRI) | spec.DteGPRP.PutBool(v.PRI)
	e[1] |= spec.DteI.PutBool(v.ATS)
	w := e[:]
	switch m := s.rid; {
	case s.own:
		spec.DteDomainID.Set(w, uint64(v.id))
		e.SetGCR3Root(uint64(v.gcr3))
		spec.DteGLX.Set(w, uint64(v.glx))
		e[0] |= spec.DteGV.Mask() | spec.DteGIoV.PutBool(m == nil || m.First)
	case m.First:
		spec.DteDomainID.Set(w, uint64(m.ID()))
		e.SetGCR3Root(uint64(guestOf(m).gcr3))
		e[0] |= spec.DteGV.Mask() | spec.DteGIoV.Mask()
	case m.Kind() == host.DomainIdentity:
		spec.DteDomainID.Set(w, uint64(m.ID()))
	default:
		spec.DteDomainID.Set(w, uint64(m.ID()))
		hostWords(w, m)
	}
	if s.levels == 5 {
		spec.DteGuestPagingMode.Set(w, 1)
	}
	if s.base != nil {
		hostWords(w, s.base)
	}
	if s.left != nil && s.levels == 0 {
		for _, b := range []reg.Bits{spec.DteMode, spec.DteHostRoot, spec.DteHAD, spec.DteGuestPagingMode} {
			b.Set(w, b.Get(s.left[:]))
		}
	}
	return w
}

// hostWords puts host tables into an entry.
func hostWords(w []uint64, m *driver.Domain) {
	root, levels := m.Top()
	w[0] |= uint64(root)
	spec.DteMode.Set(w, uint64(levels))
	if m.Dirty {
		spec.DteHAD.Set(w, spec.HADAD)
	}
}

// slotWords makes a GCR3 table entry (2.2.6).
func slotWords(m *driver.Domain) []uint64 {
	if !isGuest(m) {
		return []uint64{0}
	}
	return []uint64{uint64(cr3(m)) | spec.Gcr3V.Mask()}
}
