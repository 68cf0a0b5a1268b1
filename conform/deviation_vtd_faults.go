package conform

import (
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdReport reports whether a field belongs to the report of a fault.
func vtdReport(name string) bool {
	return strings.HasPrefix(name, "FRCD_REG.") || name == "FSTS_REG.PPF" || name == "FSTS_REG.PFO" || name == "FECTL_REG.IP"
}

// vtdRecord is the fault record of a request without PASID.
func vtdRecord(s emu.SourceID, at emu.IOVA, write bool, reason uint64) (lo, hi uint64) {
	hi = spec.FrSID.Put(uint64(s)) | spec.FrFR.Put(reason) | spec.FrF.Put(1) | spec.FrT1.PutBool(!write)
	return uint64(at) & spec.FrFI.Mask(), hi
}

// vtdHitNotReported: our unit has found the missing right in its IOTLB, and the page was translated
// for the device before. The other side shows no report.
func vtdHitNotReported(c *Case) {
	r, ok := c.transfer()
	if !ok || c.after[theirs].ok || r.Fault.Step != vtd.StepIOTLB || !c.track.translated(c.step.Device, c.step.Addr) {
		return
	}
	switch r.Fault.Code {
	case vtd.FaultRead, vtd.FaultWrite, vtd.FaultReadSM, vtd.FaultWriteSM:
		c.vtdShows(&emu.Result{Status: emu.Blocked, Fault: emu.Fault{Quiet: true}})
	}
}

// vtdReasons are the fault reasons that QEMU reports in scalable mode for those of the root and context
// tables: those of legacy mode.
var vtdReasons = map[uint64]uint64{
	vtd.FaultRootReadSM: vtd.FaultRootRead, vtd.FaultRootAbsentSM: vtd.FaultRootAbsent, vtd.FaultRootReservedSM: vtd.FaultRootReserved,
	vtd.FaultContextReadSM: vtd.FaultContextRead, vtd.FaultContextAbsentSM: vtd.FaultContextAbsent,
	vtd.FaultContextReservedSM: vtd.FaultContextReserved,
}

// vtdReasonsSS are those of the second stage. 79h becomes 5h or 6h by the access.
var vtdReasonsSS = map[uint64]uint64{
	vtd.FaultSSReadSM: vtd.FaultSSRead, vtd.FaultSSReservedSM: vtd.FaultSSReserved, vtd.FaultSSTopRead: vtd.FaultContextInvalid,
	vtd.FaultWidthSM: vtd.FaultWidth, vtd.FaultWriteSM: vtd.FaultWrite, vtd.FaultReadSM: vtd.FaultRead,
}

const vtdSSAbsent = vtd.FaultSSAbsent

// vtdNoRight is the reason in legacy mode for an access that finds no right.
func (c *Case) vtdNoRight() uint64 {
	if c.step.Write {
		return vtd.FaultWrite
	}
	return vtd.FaultRead
}

func vtdStructureReasons(c *Case) { c.claimReason(vtdReasons) }

func vtdSecondStageReasons(c *Case) {
	c.claimReason(vtdReasonsSS)
	c.claimReason(map[uint64]uint64{vtd.FaultSSAbsent: c.vtdNoRight()})
}

// claimReason claims a fault reason that is another one of the same cause.
func (c *Case) claimReason(reasons map[uint64]uint64) {
	r, ok := c.transfer()
	if !ok {
		return
	}
	if other, ok := reasons[uint64(r.Fault.Code)]; ok {
		c.claimValues("FRCD_REG.FR", uint64(r.Fault.Code), other)
	}
}

// vtdFPDOfPASID: our unit was silent about a PASID directory or table entry because of its FPD; the
// other side reports it.
func vtdFPDOfPASID(c *Case) {
	r, ok := c.transfer()
	if !ok || !r.Fault.Quiet || !vtdOfPASID(r.Fault.Code) {
		return
	}
	if other := c.vtdTheirs(c.track.vtd().root, asIf{}); !other.Fault.Quiet {
		c.vtdShows(other)
	}
}

// loud is r with its fault reported.
func (c *Case) loud(r *emu.Result) *emu.Result {
	l := *r
	l.Fault.Quiet = false
	return &l
}

// vtdReservedFPD: our unit was silent about reserved bits of a context entry, which FPD covers.
func vtdReservedFPD(c *Case) {
	r, ok := c.transfer()
	if ok && r.Fault.Quiet && (r.Fault.Code == vtd.FaultContextReserved || r.Fault.Code == vtd.FaultContextReservedSM) {
		c.vtdShows(c.loud(r))
	}
}
