package conform

import "github.com/iommulab/iommulab/emu/vtd/spec"

// claimValues claims the difference in a field if it shows these values.
func (c *Case) claimValues(name string, ours, theirs uint64) {
	if d := c.find(name); d != nil && d.Ours == ours && d.Theirs == theirs {
		c.claim(d)
	}
}

func vtdResetGranularity(c *Case) {
	if c.index < 0 {
		c.claimValues("CCMD_REG.CAIG", 1, 0)
		c.claimValues("IOTLB_REG.IAIG", 1, 0)
	}
}

// vtdCCMDWriteOnly: the fields are those of what was just written.
func vtdCCMDWriteOnly(c *Case) {
	if !c.writes(spec.OffCCMD) && !c.writes(spec.OffCCMD+4) {
		return
	}
	for _, name := range []string{"CCMD_REG.SID", "CCMD_REG.FM"} {
		if d := c.find(name); d != nil && d.Theirs == 0 {
			c.claim(d)
		}
	}
}

func vtdContextDomainGlobal(c *Case) {
	v := c.is(ours, spec.OffCCMD)
	if (c.writes(spec.OffCCMD) || c.writes(spec.OffCCMD+4)) && spec.CcmdCIRG.Of(v) == spec.GranDomain && !spec.CcmdICC.On(v) {
		c.claimValues("CCMD_REG.CAIG", spec.GranDomain, spec.GranGlobal)
	}
}

// vtdIQALatched: what the other side shows is what it showed before.
func vtdIQALatched(c *Case) {
	if d := c.find("IQA_REG.IQA"); d != nil && (c.writes(spec.OffIQA) || c.writes(spec.OffIQA+4)) && c.unchanged(theirs, d) {
		c.claim(d)
	}
}

// vtdEventPendingKept: the step cleared F and with it PPF, nothing else was pending.
func vtdEventPendingKept(c *Case) {
	cleared := c.writes(vtdFRO+8) || c.writes(vtdFRO+spec.FRCDStatus)
	if d := c.find("FECTL_REG.IP"); d != nil && cleared && d.Ours == 0 && c.unchanged(theirs, d) &&
		c.is(theirs, spec.OffFSTS)&spec.FstsPPF.Mask() == 0 {
		c.claim(d)
	}
}

// vtdIEDataWide: the upper half of the data is kept.
func vtdIEDataWide(c *Case) {
	if d := c.find("IEDATA_REG"); d != nil && d.Ours == d.Theirs&0xffff && d.Theirs == c.step.Value && c.writes(spec.OffIEDATA) {
		c.claim(d)
	}
}

// vtdWideWrite: of a write to two registers at once the upper one has taken nothing, or what follows
// has not.
func vtdWideWrite(c *Case) {
	if c.step.Op != RegWrite || c.step.Size != 8 {
		return
	}
	upper := map[uint32]string{spec.OffFECTL: "FEDATA_REG", spec.OffIECTL: "IEDATA_REG"}[c.step.Off]
	if d := c.find(upper); d != nil && c.unchanged(theirs, d) && d.Ours == c.step.Value>>32 {
		c.claim(d)
		if m := c.kind(DiffMessage); m != nil && !m.whole && m.Ours&0xffff_ffff == d.Ours && m.Theirs&0xffff_ffff == d.Theirs {
			c.claim(m) // a pending one, let go by the write
		}
	}
	if d := c.find("IECTL_REG.IP"); d != nil && c.step.Off == spec.OffICS-4 && d.Ours == 0 && c.unchanged(theirs, d) {
		c.claim(d)
	}
}

// vtdCFIIgnored: the status is what the command says, and what it was.
func vtdCFIIgnored(c *Case) {
	if d := c.find("GSTS_REG.CFIS"); d != nil && c.writes(spec.OffGCMD) && d.Ours == spec.GcmdCFI.Of(c.step.Value) && d.Theirs == 0 {
		c.claim(d)
	}
}

// vtdCommandStuck: an invalidation by register while the queue is on: our unit rejects it, the other
// one leaves it pending.
func vtdCommandStuck(c *Case) {
	if !spec.GstsQIES.On(c.is(theirs, spec.OffGSTS)) {
		return
	}
	switch {
	case c.writes(spec.OffCCMD), c.writes(spec.OffCCMD + 4):
		c.claimValues("CCMD_REG.ICC", 0, 1)
		if d := c.find("CCMD_REG.CAIG"); d != nil && d.Ours == 0 && c.unchanged(theirs, d) {
			c.claim(d)
		}
	case c.writes(vtdIRO + spec.OffIOTLB), c.writes(vtdIRO + spec.OffIOTLB + 4):
		c.claimValues("IOTLB_REG.IVT", 0, 1)
		if d := c.find("IOTLB_REG.IAIG"); d != nil && d.Ours == 0 && c.unchanged(theirs, d) {
			c.claim(d)
		}
	}
}

// vtdTailKept: the address of the queue was written; our unit sets head and tail to 0.
func vtdTailKept(c *Case) {
	if d := c.find("IQT_REG.QT"); d != nil && (c.writes(spec.OffIQA) || c.writes(spec.OffIQA+4)) && d.Ours == 0 && c.unchanged(theirs, d) {
		c.claim(d)
	}
}
