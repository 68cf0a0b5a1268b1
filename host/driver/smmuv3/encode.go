package smmuv3

import (
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// Memory attributes by AttrIndx, as Linux 7.3 numbers them: not cached, write-back, device, write-back
// that only hardware allocates for.
const mair = 0xf404_ff44

const (
	attrWriteBack = 1 // AttrIndx
	wbRAWA        = 1 // IR, OR of a CD; S2IR, S2OR
	steWBRA       = 1 // S1CIR, S1COR
)

// steWords makes the STE of v for requests without PASID in the domain m (nil: none). t has the CDs, of these
// requests or of others; nil: there are none.
func (d *Driver) steWords(v *driver.Device, m *driver.Domain, t *cdTable) []uint64 {
	w := make([]uint64, 8)
	w[0] = spec.SteV.Mask()
	s := streamOf(v)
	kind := host.DomainBlocked
	if m != nil {
		kind = m.Kind()
	}
	config := uint64(spec.ConfigAbort)
	dss := uint64(spec.DSSTerminate)
	switch {
	case kind == host.DomainPaging && !m.First:
		config, t = spec.ConfigS2, nil
	case kind == host.DomainNested:
		config, t = guestConfig(m), nil
	case kind == host.DomainPaging:
		config, dss = spec.ConfigS1, spec.DSSSSID0
	case t != nil:
		config = spec.ConfigS1
		if kind == host.DomainIdentity {
			dss = spec.DSSBypass
		}
	case kind == host.DomainIdentity:
		config = spec.ConfigBypass
	}
	spec.SteConfig.Set(w, config)
	if t != nil {
		w[0] |= uint64(t.base) | spec.SteS1CDMax.Put(uint64(t.cdmax)) | spec.SteS1Fmt.Put(t.format)
		if t.cdmax > 0 {
			spec.SteS1DSS.Set(w, dss)
		}
		d.stage1Words(w, s)
	}
	switch {
	case config == spec.ConfigS2:
		if kind == host.DomainNested {
			m = m.Parent
		}
		d.stage2Words(w, s, m)
	case config == spec.ConfigNested:
		d.stage2Words(w, s, m.Parent)
		d.guestWords(w, s, m)
	}
	if config != spec.ConfigAbort && config != spec.ConfigBypass {
		spec.SteEATS.Set(w, d.eats(v, config))
	}
	if spec.Idr1AttrTypesOvr.On(d.caps.idr1) && (config&5 == 4 || config == spec.ConfigNested || dss == spec.DSSBypass) {
		spec.SteSHCFG.Set(w, spec.ShCfgIncoming)
	}
	return w
}

// eats is what a stream may do with ATS. A stage that stalls cannot be translated ahead (5.2, EATS).
func (d *Driver) eats(v *driver.Device, config uint64) uint64 {
	if !v.ATS || config != spec.ConfigS1 && d.stallStage2(streamOf(v)) != 0 {
		return spec.EATSOff
	}
	return spec.EATSFull
}

// stage1Words puts into an STE how CDs are read, and that they do not stall.
func (d *Driver) stage1Words(w []uint64, s *stream) {
	if d.c.Coherent {
		spec.SteS1CIR.Set(w, steWBRA)
		spec.SteS1COR.Set(w, steWBRA)
		spec.SteS1CSH.Set(w, spec.ShInner)
	} else {
		spec.SteS1CSH.Set(w, spec.ShOuter)
	}
	if d.caps.mayNotStall && !s.stall {
		spec.SteS1STALLD.Set(w, 1)
	}
}

// stallStage2 is S2S: set where it has to be, or may and is wanted.
func (d *Driver) stallStage2(s *stream) uint64 {
	if s.stall {
		return 1
	}
	return 0
}

// stage2Words puts the stage 2 of m into an STE.
func (d *Driver) stage2Words(w []uint64, s *stream, m *driver.Domain) {
	root, levels := m.Table.Root()
	g := d.caps.granule
	tg, _ := g.TG0()
	sl0, _ := spec.S2SL0(g, int8(levels)-1)
	spec.SteS2VMID.Set(w, uint64(m.ID()))
	spec.SteS2T0SZ.Set(w, uint64(64-width(m)))
	spec.SteS2SL0.Set(w, sl0&3)
	spec.SteS2SL02.Set(w, sl0>>2)
	w[3] |= spec.SteS2DS.PutBool(d.caps.ds())
	spec.SteS2TG.Set(w, tg)
	spec.SteS2PS.Set(w, spec.Idr5OAS.Of(d.caps.idr5))
	spec.SteS2AA64.Set(w, 1)
	spec.SteS2PTW.Set(w, 1)
	spec.SteS2R.Set(w, 1)
	spec.SteS2S.Set(w, d.stallStage2(s))
	if d.c.Coherent {
		spec.SteS2IR0.Set(w, wbRAWA)
		spec.SteS2OR0.Set(w, wbRAWA)
		spec.SteS2SH0.Set(w, spec.ShInner)
	} else {
		spec.SteS2SH0.Set(w, spec.ShOuter)
	}
	if d.caps.flags {
		spec.SteS2HA.Set(w, 1)
		spec.SteS2HD.Set(w, 1)
	}
	w[3] |= uint64(root)
}

// cdWords makes the CD of m for requests of v. Faults abort and are recorded.
func (d *Driver) cdWords(v *driver.Device, m *driver.Domain) []uint64 {
	w := make([]uint64, 8)
	if m == nil || m.Kind() == host.DomainBlocked {
		return w
	}
	root, _ := m.Table.Root()
	tg, _ := d.caps.granule.TG0()
	spec.CdT0SZ.Set(w, uint64(64-width(m)))
	spec.CdTG0.Set(w, tg)
	if d.c.Coherent {
		spec.CdIR0.Set(w, wbRAWA)
		spec.CdOR0.Set(w, wbRAWA)
		spec.CdSH0.Set(w, spec.ShInner)
	} else {
		spec.CdSH0.Set(w, spec.ShOuter)
	}
	w[0] |= spec.CdEPD1.Mask() | spec.CdV.Mask() | spec.CdAA64.Mask() | spec.CdR.Mask() | spec.CdA.Mask() | spec.CdASET.Mask()
	w[0] |= spec.CdS.PutBool(streamOf(v).stall) | spec.CdHA.PutBool(d.caps.flags) | spec.CdHD.PutBool(d.caps.flags)
	spec.CdIPS.Set(w, spec.Idr5OAS.Of(d.caps.idr5))
	spec.CdASID.Set(w, uint64(asidOf(m)))
	w[1] = uint64(root)
	w[2] |= spec.CdDS.PutBool(d.caps.ds())
	w[3] = mair
	return w
}

// asidOf is the ASID of a stage 1 domain.
func asidOf(m *driver.Domain) uint32 { return m.ID() - asidBase }

// width is how many bits of addresses the table of m translates.
func width(m *driver.Domain) uint8 { return m.Config.VABits }
