package amdvi

import (
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/iotlb"
)

// efrWord composes the Extended Feature Register.
func (c *Config) efrWord() uint64 {
	return spec.EfrPreFSup.PutBool(c.PreFSup) |
		spec.EfrPPRSup.PutBool(c.PPRSup) |
		spec.EfrXTSup.PutBool(c.XTSup) |
		spec.EfrNXSup.PutBool(c.NXSup) |
		spec.EfrGTSup.PutBool(c.GTSup) |
		spec.EfrIASup.PutBool(c.IASup) |
		spec.EfrGASup.PutBool(c.GASup) |
		spec.EfrHESup.PutBool(c.HESup) |
		spec.EfrPCSup.PutBool(c.PCSup) |
		spec.EfrHATS.Put(uint64(c.HATS)) |
		spec.EfrGATS.Put(uint64(c.GATS)) |
		spec.EfrGLXSup.Put(uint64(c.GLXSup)) |
		spec.EfrGAMSup.PutBool(c.GAMSup) |
		spec.EfrPASmax.Put(uint64(c.PASmax)) |
		spec.EfrDevTblSegSup.Put(uint64(c.DevTblSegSup)) |
		spec.EfrPprEarlySup.PutBool(c.PprEarlySup) |
		spec.EfrPPRAutoRspSup.PutBool(c.PPRAutoRspSup) |
		spec.EfrMsiCapMmioSup.PutBool(c.MsiCapMmioSup) |
		spec.EfrGIoSup.PutBool(c.GIoSup) |
		spec.EfrHASup.PutBool(c.HASup) |
		spec.EfrEPHSup.PutBool(c.EPHSup) |
		spec.EfrHDSup.PutBool(c.HDSup) |
		spec.EfrInvIotlbTypeSup.PutBool(c.InvIotlbTypeSup) |
		spec.EfrGAUpdateDisSup.PutBool(c.GAUpdateDisSup)
}

// efr2Word composes the Extended Feature 2 Register.
func (c *Config) efr2Word() uint64 {
	return spec.Efr2GCR3TRPModeSup.PutBool(c.GCR3TRPModeSup) |
		spec.Efr2NumIntRemapSup.PutBool(c.NumIntRemap2K) |
		spec.Efr2HtRangeIgnore.PutBool(c.HtRangeIgnore)
}

// adopt sets the capability fields from registers, as far as they are modelled.
func (c *Config) adopt(efr, efr2 uint64) {
	c.PreFSup = spec.EfrPreFSup.On(efr)
	c.PPRSup = spec.EfrPPRSup.On(efr) && c.IotlbSup
	c.XTSup = spec.EfrXTSup.On(efr)
	c.NXSup = spec.EfrNXSup.On(efr)
	c.GTSup = spec.EfrGTSup.On(efr)
	c.IASup = spec.EfrIASup.On(efr)
	c.GASup = spec.EfrGASup.On(efr)
	c.HESup = spec.EfrHESup.On(efr)
	c.HATS = uint8(spec.EfrHATS.Of(efr))
	c.GATS = uint8(min(spec.EfrGATS.Of(efr), spec.GATS5))
	c.GLXSup = uint8(min(spec.EfrGLXSup.Of(efr), spec.MaxGLX))
	c.GAMSup = c.GASup && spec.EfrGAMSup.Of(efr)&1 != 0
	c.PASmax = uint8(min(spec.EfrPASmax.Of(efr), 19))
	c.DevTblSegSup = uint8(spec.EfrDevTblSegSup.Of(efr))
	c.PprEarlySup = c.PPRSup && spec.EfrPprEarlySup.On(efr)
	c.PPRAutoRspSup = c.PPRSup && spec.EfrPPRAutoRspSup.On(efr)
	c.MsiCapMmioSup = spec.EfrMsiCapMmioSup.On(efr)
	c.GIoSup = spec.EfrGIoSup.On(efr)
	c.HASup = spec.EfrHASup.On(efr)
	c.EPHSup = c.PPRSup && spec.EfrEPHSup.On(efr)
	c.HDSup = spec.EfrHDSup.On(efr)
	c.InvIotlbTypeSup = spec.EfrInvIotlbTypeSup.On(efr) && c.IotlbSup
	c.GAUpdateDisSup = spec.EfrGAUpdateDisSup.On(efr)
	c.GCR3TRPModeSup = spec.Efr2GCR3TRPModeSup.On(efr2)
	c.NumIntRemap2K = spec.Efr2NumIntRemapSup.Of(efr2) == spec.NumIntRemap2048
	c.HtRangeIgnore = spec.Efr2HtRangeIgnore.On(efr2)
	if !c.GTSup { // the fields of guest translation mean nothing then
		c.GATS, c.GLXSup, c.GIoSup, c.GCR3TRPModeSup = 0, 0, false, false
	}
}

// limits is what translation needs of the capabilities, worked out once.
type limits struct {
	dte      [4]uint64    // reserved bits of a DTE
	irte     [3][2]uint64 // of interrupt table entries: 32 bits, 128 bits, guest mode
	maxMode  uint8        // host levels that the unit has
	pasidTop uint64       // first PASID that PASmax cannot express
	walk     uint64       // bit lg2: a paging-structure cache for that region size exists
	walk2    uint64
}

func (u *Unit) setLimits() {
	c, l := &u.cfg, &u.lim
	copy(l.dte[:], spec.DTELayout.Reserved([]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}))
	// A field of what the unit lacks is reserved, unless a snapshot advertised it.
	lacks := func(b reg.Bits) bool { return !b.On(u.adv.efr | u.efr) }
	if lacks(spec.EfrEPHSup) {
		l.dte[0] |= spec.DtePPR.Mask() | spec.DteGPRP.Mask()
	}
	if lacks(spec.EfrGIoSup) {
		l.dte[0] |= spec.DteGIoV.Mask()
	}
	if lacks(spec.EfrHASup) {
		l.dte[0] |= spec.DteHAD.Mask()
	}
	if lacks(spec.EfrGTSup) {
		l.dte[0] |= spec.DteGV.Mask() | spec.DteGLX.Mask() | spec.DteGCR3Lo.Mask()
		l.dte[1] |= spec.DteGCR3Mid.Mask() | spec.DteGCR3Hi.Mask()
	}
	if lacks(spec.EfrSATSSup) {
		l.dte[1] |= spec.DteSATS.Mask()
	}
	for i, layout := range []*reg.Layout{&spec.IRTE32Layout, &spec.IRTE128Layout, &spec.IRTEGuestLayout} {
		copy(l.irte[i][:], layout.Reserved([]uint64{^uint64(0), ^uint64(0)}))
	}
	l.maxMode = 4 + c.HATS
	l.pasidTop = 2 << c.PASmax
	l.walk, l.walk2 = iotlb.Regions(c.Walk), iotlb.Regions(c.Walk2)
}
