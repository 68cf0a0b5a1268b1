package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// addressWidth is the AW code of a second-stage table: levels - 2.
func addressWidth(m *driver.Domain) (root emu.PA, aw uint64) {
	root, levels := m.Top()
	return root, uint64(levels) - 2
}

// Words returns what the entry of v has to hold for m: a context entry in legacy mode, a PASID-table
// entry in scalable mode. An entry of zeros blocks.
func (d arch) Words(v *driver.Device, _ emu.PASID, m *driver.Domain) []uint64 {
	switch blocked := m == nil || m.Kind() == host.DomainBlocked; {
	case d.scalable && blocked:
		return make([]uint64, 8)
	case blocked:
		return make([]uint64, 2)
	case d.scalable:
		return d.pasidWords(m)
	}
	return d.contextWords(m, v.ATS)
}

// contextWords makes a legacy context entry (9.3).
func (d *Driver) contextWords(m *driver.Domain, ats bool) []uint64 {
	w := make([]uint64, 2)
	w[0] = spec.CtxP.Mask()
	spec.CtxDID.Set(w, uint64(m.ID()))
	if m.Kind() == host.DomainIdentity {
		spec.CtxTT.Set(w, spec.TTPassThrough)
		spec.CtxAW.Set(w, d.caps.maxAW()) // must be the largest that there is
		return w
	}
	root, aw := addressWidth(m)
	w[0] |= uint64(root)
	spec.CtxAW.Set(w, aw)
	if ats {
		spec.CtxTT.Set(w, spec.TTAll)
	}
	return w
}

// pasidWords makes a PASID-table entry (9.6). Of a first stage it sets what Linux 7.3 sets: requests
// for supervisor rights and execution stay refused (SRE, ERE), and XD is no bit of the tables (NXE).
func (d *Driver) pasidWords(m *driver.Domain) []uint64 {
	c := &d.caps
	w := make([]uint64, 8)
	w[0] = spec.PasidP.Mask()
	spec.PasidDID.Set(w, uint64(m.ID()))
	snoop := m.Spec.Snoop
	switch {
	case m.Kind() == host.DomainIdentity:
		spec.PasidPGTT.Set(w, spec.PGTTPassThrough)
		spec.PasidAW.Set(w, c.maxAW())
	case m.Parent != nil:
		secondWords(m.Parent, w)
		firstWords(w, m.Root, m.Levels)
		spec.PasidPGTT.Set(w, spec.PGTTNested)
		snoop = snoop || m.Parent.Spec.Snoop
	case m.First:
		root, levels := m.Top()
		firstWords(w, root, levels)
		spec.PasidPGTT.Set(w, spec.PGTTFirst)
		spec.PasidAW.Set(w, uint64(levels)-2) // ignored; set by Linux, and looked at by QEMU
	default:
		secondWords(m, w)
		spec.PasidPGTT.Set(w, spec.PGTTSecond)
	}
	if m.Kind() != host.DomainIdentity {
		w[1] |= spec.PasidPWSNP.PutBool(c.has(spec.EcapSMPWCS))
	}
	w[1] |= spec.PasidPGSNP.PutBool(snoop && c.has(spec.EcapSC))
	return w
}

// secondWords puts a second stage into an entry.
func secondWords(m *driver.Domain, w []uint64) {
	root, aw := addressWidth(m)
	w[0] |= uint64(root)
	spec.PasidAW.Set(w, aw)
	w[0] |= spec.PasidSSADE.PutBool(m.Dirty)
}

// firstWords puts a first stage into an entry.
func firstWords(w []uint64, root emu.PA, levels uint8) {
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
