package conform

import (
	"encoding/binary"
	"maps"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdAsIf returns what our unit would make of the access of the step if the root pointer and some of
// memory were others, and what it would have written.
func (c *Case) vtdAsIf(root uint64, q asIf) (*emu.Result, map[emu.PA]uint64) {
	return c.ask(q, func(f *emu.Functional) {
		f.WriteReg(0, spec.OffRTADDR, 8, root)
		f.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSRTP.Mask())
		f.WriteReg(0, spec.OffGCMD, 4, c.is(ours, spec.OffGSTS)&spec.GstsTES.Mask())
	})
}

// vtdTheirs returns what the other side would make of the access of the step if the root pointer and some
// of memory were others: our unit's answer, by two rules of the other side. FPD of a PASID directory or
// table entry does not cover the faults of the PASID entry itself, and first-stage rights are checked on
// the way.
func (c *Case) vtdTheirs(root uint64, q asIf) *emu.Result {
	r, _ := c.vtdAsIf(root, q)
	if r.Fault.Quiet && vtdOfPASID(r.Fault.Code) {
		words := maps.Clone(q.words)
		if words == nil {
			words = make(map[emu.PA]uint64)
		}
		for _, at := range []emu.PA{c.dir0(q), r.Fault.At} {
			words[at] = c.read(q, at) &^ spec.PasidFPD.Mask() // the same bit in both kinds of entry
		}
		q.words = words
		r, _ = c.vtdAsIf(root, q)
	}
	if code, _, ok := c.firstRights(q, r.Fault.At); ok && vtdOfFirst(r.Fault.Code) {
		early := *r
		early.Fault.Code = code
		return &early
	}
	return r
}

// read returns a word as it is in q.
func (c *Case) read(q asIf, pa emu.PA) uint64 {
	if w, ok := q.words[pa]; ok {
		return w
	}
	return c.model.word(pa)
}

// vtdOfPASID reports whether a fault is one of a PASID directory or table entry.
func vtdOfPASID(code uint16) bool {
	switch code {
	case vtd.FaultPASIDDirAbsent, vtd.FaultPASIDDirReserved, vtd.FaultPASIDAbsent, vtd.FaultPASIDReserved, vtd.FaultPASIDInvalid:
		return true
	}
	return false
}

// vtdShows claims the differences of the step if the other side shows, in everything that is compared,
// what r says: where the access ended, and whether and how it was reported.
func (c *Case) vtdShows(r *emu.Result) {
	v := c.after[theirs]
	if landed := r.Status == emu.OK && c.answers(r.PA); v.ok != landed || landed && !c.landed(r.PA) {
		return
	}
	reason := uint64(0)
	if r.Status == emu.Blocked && !r.Fault.Quiet && r.Fault.Code <= 0xff {
		reason = c.vtdReason(uint64(r.Fault.Code))
	}
	lo, hi := vtdRecord(c.source(), c.step.Addr, c.step.Write, reason)
	if events, ok := c.vtdReported(reason, lo, hi); !ok || len(v.msgs) != events {
		return
	}
	c.hidden = r.Status == emu.OK // it may be cached
	c.claimAccess()
	if v.ok && c.step.Write {
		c.back = append(c.back, r.PA)
	}
}

// claimAccess claims all differences that an access of a device can make.
func (c *Case) claimAccess() {
	for i := range c.diffs {
		switch d := &c.diffs[i]; d.Kind {
		case DiffOutcome, DiffData, DiffMessage:
			c.claim(d)
		case DiffMemory:
			c.claim(d)
			c.back = append(c.back, d.PA)
		case DiffRegister:
			if vtdReport(d.Name) {
				c.claim(d)
			}
		}
	}
}

// landed reports whether the access of the other side ended at an address.
func (c *Case) landed(pa emu.PA) bool {
	if !c.step.Write {
		return c.after[theirs].data == c.model.word(pa)
	}
	v, err := word(c.peers[theirs], pa)
	tag := Tag(int(c.step.Value))
	return err == nil && v == binary.LittleEndian.Uint64(tag[:])
}

// vtdReported reports whether the other side shows, after an access, the report of a fault with this
// reason and record, of none if the reason is 0 (7.3.1), and how many event messages belong to it.
func (c *Case) vtdReported(reason, recLo, recHi uint64) (events int, ok bool) {
	lo, hi := c.was(theirs, vtdFRO), c.was(theirs, vtdFRO+8)
	fsts, fectl := c.was(theirs, spec.OffFSTS), c.was(theirs, spec.OffFECTL)
	switch {
	case reason == 0 || spec.FstsPFO.On(fsts):
	case !spec.FrF.On(hi):
		if !spec.FstsPPF.On(fsts) && !spec.FstsIQE.On(fsts) {
			if spec.EventIM.On(fectl) {
				fectl |= spec.EventIP.Mask()
			} else {
				events = 1
			}
		}
		lo, hi = recLo, recHi
		fsts |= spec.FstsPPF.Mask()
	case emu.SourceID(spec.FrSID.Of(hi)) != c.source():
		fsts |= spec.FstsPFO.Mask()
	}
	return events, c.is(theirs, vtdFRO) == lo && c.is(theirs, vtdFRO+8) == hi && c.is(theirs, spec.OffFSTS) == fsts &&
		c.is(theirs, spec.OffFECTL) == fectl
}

// vtdReason returns the fault reason of the other side for one of ours.
func (c *Case) vtdReason(code uint64) uint64 {
	if c.target.Mode == vtdLegacy {
		return code
	}
	if other, ok := vtdReasons[code]; ok {
		return other
	}
	if c.target.Mode == vtdFirst {
		return code
	}
	if other, ok := vtdReasonsSS[code]; ok {
		return other
	}
	if code == vtdSSAbsent {
		return c.vtdNoRight()
	}
	return code
}
