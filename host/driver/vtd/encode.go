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

// addressWidth is the AW code of a second-stage table: levels - 2.
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

// pasidWords makes a PASID-table entry (9.6). Of a first stage it sets what Linux 7.3 sets: requests
// for supervisor rights and execution stay refused (SRE, ERE), and XD is no bit of the tables (NXE).
func (m *domain) pasidWords() []uint64 {
	c := &m.d.caps
	w := make([]uint64, 8)
	w[0] = spec.PasidP.Mask()
	spec.PasidDID.Set(w, uint64(m.id))
	snoop := m.spec.Snoop
	switch {
	case m.kind == host.DomainIdentity:
		spec.PasidPGTT.Set(w, spec.PGTTPassThrough)
		spec.PasidAW.Set(w, c.maxAW())
	case m.parent != nil:
		m.parent.secondWords(w)
		m.firstWords(w, m.root, m.levels)
		spec.PasidPGTT.Set(w, spec.PGTTNested)
		snoop = snoop || m.parent.spec.Snoop
	case m.first:
		root, levels := m.table.Root()
		m.firstWords(w, root, levels)
		spec.PasidPGTT.Set(w, spec.PGTTFirst)
		spec.PasidAW.Set(w, uint64(levels)-2) // ignored; set by Linux, and looked at by QEMU
	default:
		m.secondWords(w)
		spec.PasidPGTT.Set(w, spec.PGTTSecond)
	}
	if m.kind != host.DomainIdentity {
		w[1] |= spec.PasidPWSNP.PutBool(c.has(spec.EcapSMPWCS))
	}
	w[1] |= spec.PasidPGSNP.PutBool(snoop && c.has(spec.EcapSC))
	return w
}

// secondWords puts a second stage into an entry.
func (m *domain) secondWords(w []uint64) {
	root, aw := m.addressWidth()
	w[0] |= uint64(root)
	spec.PasidAW.Set(w, aw)
	w[0] |= spec.PasidSSADE.PutBool(m.dirty)
}

// firstWords puts a first stage into an entry.
func (m *domain) firstWords(w []uint64, root emu.PA, levels uint8) {
	w[2] |= uint64(root)
	if levels == 5 {
		spec.PasidFSPM.Set(w, spec.FSPM5)
	}
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
