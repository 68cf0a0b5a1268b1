package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Register-based invalidation, 6.5.1: for units below version 6, in legacy mode, while the queue is
// off. A request that is not served is answered with actual granularity 0.

// queueOnlyVersion is the major version from which on the registers serve no request (11.4.6.1).
const queueOnlyVersion = 6

func (u *Unit) registerBased() bool {
	return u.cfg.VersionMajor < queueOnlyVersion && !u.status(spec.GstsQIES) && u.ttm() == spec.TTMLegacy
}

// invalidateContext begins what CCMD asks for; it returns false if nothing is to be done.
func (u *Unit) invalidateContext(t *emu.Txn) bool {
	v := u.reg.Get(rCCMD)
	g := spec.CcmdCIRG.Of(v)
	t.Aux[1] = 0
	if g == 0 || !u.registerBased() {
		return false
	}
	t.Aux[1] = g
	u.selContext(&t.Act.Sel, g, spec.CcmdDID.Of(v), spec.CcmdSID.Of(v), spec.CcmdFM.Of(v))
	t.Invalidate(StepCommandFlush, stCommandMarked)
	return true
}

// invalidateIOTLB begins what IOTLB_REG and IVA_REG ask for; it returns false if nothing is to be
// done. Without PSI a domain is invalidated instead of pages.
func (u *Unit) invalidateIOTLB(t *emu.Txn) bool {
	v, iva := u.reg.Get(rIOTLB), u.reg.Get(rIVA)
	g, did, am := spec.IotlbIIRG.Of(v), spec.IotlbDID.Of(v), spec.IvaAM.Of(iva)
	t.Aux[1] = 0
	if g == spec.GranPage && !u.cfg.PSI {
		g = spec.GranDomain
	}
	if g == 0 || !u.registerBased() || g == spec.GranPage && am > uint64(u.cfg.MAMV) {
		return false
	}
	t.Aux[1] = g
	if g == spec.GranPage {
		selPages(&t.Act.Sel, did, iva&spec.IvaADDR.Mask(), am, spec.IvaIH.On(iva))
	} else {
		selDomain(&t.Act.Sel, g, did)
	}
	t.Invalidate(StepCommandFlush, stCommandMarked)
	return true
}
