package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
)

// ridPASID is the PASID-table index for pasid: requests without one use RID_PASID, which is 0 here.
func ridPASID(pasid emu.PASID) emu.PASID {
	if pasid == emu.NoPASID {
		return 0
	}
	return pasid
}

// addressWidth is the AW code of a table: levels - 2.
func (m *domain) addressWidth() (root emu.PA, aw uint64) {
	root, levels := m.table.Root()
	return root, uint64(levels) - 2
}

// entryFor returns what the entry of v has to hold for m: a context entry in legacy mode, a
// PASID-table entry in scalable mode. A blocked domain is an entry of zeros.
func (m *domain) entryFor(v *device) []uint64 {
	switch {
	case m.d.scalable && m.kind == host.DomainBlocked:
		return make([]uint64, 8)
	case m.kind == host.DomainBlocked:
		return make([]uint64, 2)
	case m.d.scalable:
		return m.pasidWords()
	}
	return m.contextWords(v)
}

// contextWords makes a legacy context entry (9.3).
func (m *domain) contextWords(v *device) []uint64 {
	w := make([]uint64, 2)
	w[0] = spec.CtxP.Mask()
	spec.CtxDID.Set(w, uint64(m.id))
	if m.kind == host.DomainIdentity {
		spec.CtxTT.Set(w, spec.TTPassThrough)
		spec.CtxAW.Set(w, m.d.caps.maxAW()) // must be the largest that there is
		return w
	}
	root, aw := m.addressWidth()
	w[0] |= uint64(root)
	spec.CtxAW.Set(w, aw)
	if v.ats {
		spec.CtxTT.Set(w, spec.TTAll)
	}
	return w
}

// pasidWords makes a PASID-table entry (9.6).
func (m *domain) pasidWords() []uint64 {
	c := &m.d.caps
	w := make([]uint64, 8)
	w[0] = spec.PasidP.Mask()
	spec.PasidDID.Set(w, uint64(m.id))
	if m.kind == host.DomainIdentity {
		spec.PasidPGTT.Set(w, spec.PGTTPassThrough)
		spec.PasidAW.Set(w, c.maxAW())
	} else {
		root, aw := m.addressWidth()
		w[0] |= uint64(root)
		spec.PasidPGTT.Set(w, spec.PGTTSecond)
		spec.PasidAW.Set(w, aw)
		w[1] |= spec.PasidPWSNP.PutBool(c.has(spec.EcapSMPWCS))
	}
	w[1] |= spec.PasidPGSNP.PutBool(m.spec.Snoop && c.has(spec.EcapSC))
	return w
}

// maxAW is the AW code of the largest width that hardware has.
func (c *caps) maxAW() uint64 {
	sagaw := spec.CapSAGAW.Of(c.cap)
	for aw := uint64(spec.AW57); aw > spec.AW39; aw-- {
		if sagaw>>aw&1 != 0 {
			return aw
		}
	}
	return spec.AW39
}
