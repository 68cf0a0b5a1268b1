package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// descType says how the queue treats one type of descriptor, 6.5.2.
type descType struct {
	begin  func(u *Unit, t *emu.Txn) // asks the first question; nil: unknown type
	second func(u *Unit, s *emu.Selector, d *[8]uint64) bool
	legal  func(u *Unit, d *[8]uint64) bool // nil: always
	rsvd   [2]uint64
	wide   bool // 256-bit only
}

// setDescriptors makes the table of the types that this unit has.
func (u *Unit) setDescriptors() {
	c := &u.cfg
	u.desc = [spec.NumDescTypes]descType{}
	if !c.QI {
		return
	}
	add := func(kind uint8, d descType) {
		r := spec.DescLayouts[kind].Reserved([]uint64{^uint64(0), ^uint64(0)})
		d.rsvd = [2]uint64{r[0], r[1]}
		u.desc[kind] = d
	}
	add(spec.DescContext, descType{begin: (*Unit).descContext, legal: legalContext})
	add(spec.DescIOTLB, descType{begin: (*Unit).descIOTLB, legal: legalIOTLB, second: secondIOTLB})
	add(spec.DescIEC, descType{begin: (*Unit).descIEC, legal: legalIEC})
	add(spec.DescWait, descType{begin: (*Unit).descWait})
	if !c.PDS {
		u.desc[spec.DescWait].rsvd[0] |= spec.IwPD.Mask()
	}
	if c.DT {
		add(spec.DescDevTLB, descType{begin: (*Unit).descDevTLB})
		if !c.DIT {
			u.desc[spec.DescDevTLB].rsvd[0] |= spec.DtPFSIDLo.Mask() | spec.DtPFSIDHi.Mask()
		}
	}
	if !c.SMTS {
		return
	}
	add(spec.DescPASIDIOTLB, descType{begin: (*Unit).descPASIDIOTLB, legal: legalPASIDIOTLB, wide: true})
	add(spec.DescPASIDCache, descType{begin: (*Unit).descPASIDCache, legal: legalPASIDCache, second: secondPASIDCache, wide: true})
	if c.DT {
		add(spec.DescPASIDDevTLB, descType{begin: (*Unit).descPASIDDevTLB, wide: true})
		if !c.DIT {
			u.desc[spec.DescPASIDDevTLB].rsvd[0] |= spec.PdPFSIDLo.Mask() | spec.PdPFSIDHi.Mask()
		}
	}
	if c.PRS {
		add(spec.DescPageGroup, descType{begin: (*Unit).descPageGroup, wide: true})
	}
}

// addrMask is the address field of the second word of descriptors.
const addrMask = ^uint64(emu.PageSize - 1)

// The descriptor in execution is in Txn.Entry.

func legalContext(_ *Unit, d *[8]uint64) bool { return spec.CcG.Of(d[0]) != 0 }

func (u *Unit) descContext(t *emu.Txn) {
	w := t.Entry[0]
	u.selContext(&t.Act.Sel, spec.CcG.Of(w), spec.CcDID.Of(w), spec.CcSID.Of(w), spec.CcFM.Of(w))
	t.Invalidate(StepQueueInvalidate, stQueueNext)
}

func legalIOTLB(u *Unit, d *[8]uint64) bool {
	g := spec.IiG.Of(d[0])
	return g != 0 && (g != spec.GranPage || u.cfg.PSI && spec.IiAM.Of(d[1]) <= uint64(u.cfg.MAMV))
}

func (u *Unit) descIOTLB(t *emu.Txn) {
	w, a := t.Entry[0], t.Entry[1]
	g, did := spec.IiG.Of(w), spec.IiDID.Of(w)
	if g != spec.GranPage {
		selDomain(&t.Act.Sel, g, did)
		t.Invalidate(StepQueueInvalidate, stQueueNext)
		return
	}
	selPages(&t.Act.Sel, did, a&addrMask, spec.IiAM.Of(a), spec.IiIH.On(a))
	t.Invalidate(StepQueueInvalidate, stQueueSecond)
}

// secondIOTLB selects what a page-selective invalidation drops besides second-stage pages.
func secondIOTLB(_ *Unit, s *emu.Selector, d *[8]uint64) bool {
	selGuest(s, spec.IiDID.Of(d[0]))
	return true
}

func legalPASIDIOTLB(_ *Unit, d *[8]uint64) bool { return spec.PiG.Of(d[0]) >= spec.GranPASID }

func (u *Unit) descPASIDIOTLB(t *emu.Txn) {
	w, a := t.Entry[0], t.Entry[1]
	selProcess(&t.Act.Sel, spec.PiG.Of(w), spec.PiDID.Of(w), spec.PiPASID.Of(w),
		a&addrMask, spec.PiAM.Of(a), spec.PiIH.On(a))
	t.Invalidate(StepQueueInvalidate, stQueueNext)
}

func legalPASIDCache(_ *Unit, d *[8]uint64) bool { return spec.PcG.Of(d[0]) != 2 }

func (u *Unit) descPASIDCache(t *emu.Txn) {
	w := t.Entry[0]
	selPASID(&t.Act.Sel, spec.PcG.Of(w), spec.PcDID.Of(w), spec.PcPASID.Of(w))
	t.Invalidate(StepQueueInvalidate, stQueueSecond)
}

// secondPASIDCache selects not-present entries, which caching mode keeps under domain 0: a new
// entry is announced under its own domain.
func secondPASIDCache(u *Unit, s *emu.Selector, d *[8]uint64) bool {
	if !u.cfg.CM || spec.PcG.Of(d[0]) == spec.GranPCGlobal {
		return false
	}
	selPASID(s, spec.PcG.Of(d[0]), 0, spec.PcPASID.Of(d[0]))
	return true
}

// legalIEC checks the index mask. Without interrupt remapping the descriptor does nothing, and drivers
// may send it all the same.
func legalIEC(u *Unit, d *[8]uint64) bool {
	return !spec.IeG.On(d[0]) || !u.cfg.IR || spec.IeIM.Of(d[0]) <= uint64(u.cfg.MHMV)
}

func (u *Unit) descIEC(t *emu.Txn) {
	w := t.Entry[0]
	selInterrupts(&t.Act.Sel, spec.IeG.On(w), spec.IeIIDX.Of(w), spec.IeIM.Of(w))
	t.Invalidate(StepQueueInvalidate, stQueueNext)
}
