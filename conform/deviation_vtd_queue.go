package conform

import (
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdNoErrorRecord: the register is not there.
func vtdNoErrorRecord(c *Case) {
	for _, f := range []string{"IQEI", "ITESID", "ICESID"} {
		if d := c.find("IQERCD_REG." + f); d != nil && d.Theirs == 0 {
			c.claim(d)
		}
	}
}

// vtdQueueState reports whether a field belongs to the state of the queue.
func vtdQueueState(name string) bool {
	return strings.HasPrefix(name, "IQH_REG") || strings.HasPrefix(name, "IQERCD_REG") || name == "FSTS_REG.IQE" ||
		name == "FECTL_REG.IP" || strings.HasPrefix(name, "ICS_REG") || name == "IECTL_REG.IP"
}

// queueDiffers claims all differences in the state of the queue, in what it has written to memory, and
// in messages.
func (c *Case) queueDiffers() {
	for i := range c.diffs {
		d := &c.diffs[i]
		if d.Kind == DiffMemory || d.Kind == DiffMessage || d.Kind == DiffRegister && vtdQueueState(d.Name) {
			c.claim(d)
		}
	}
}

// descriptor returns the descriptor at which a side stands.
func (c *Case) descriptor(side int) (lo, hi uint64) {
	at := emu.PA(c.is(ours, spec.OffIQA)&spec.IqaIQA.Mask() + c.is(side, spec.OffIQH))
	return c.model.word(at), c.model.word(at + 8)
}

// stopped reports whether the step rang the bell and one side, and not the other, has stopped at a
// descriptor by it.
func (c *Case) stopped(side int) bool {
	return c.writes(spec.OffIQT) && spec.FstsIQE.On(c.is(side, spec.OffFSTS)) && !spec.FstsIQE.On(c.is(1-side, spec.OffFSTS)) &&
		!spec.FstsIQE.On(c.was(side, spec.OffFSTS))
}

// vtdQueueWaits: software cleared IQE; our unit goes on, the other one waits for the tail.
func vtdQueueWaits(c *Case) {
	cleared := c.writes(spec.OffFSTS) && spec.FstsIQE.On(c.step.Value) && spec.FstsIQE.On(c.was(theirs, spec.OffFSTS))
	if cleared && c.is(theirs, spec.OffIQH) == c.was(theirs, spec.OffIQH) && c.is(theirs, spec.OffIQH) != c.is(theirs, spec.OffIQT) &&
		!spec.FstsIQE.On(c.is(theirs, spec.OffFSTS)) && len(c.after[theirs].msgs) == 0 {
		c.queueDiffers()
	}
}

// vtdBareWait: the other side has stopped at a wait with neither status nor interrupt.
func vtdBareWait(c *Case) {
	if !c.stopped(theirs) {
		return
	}
	lo, _ := c.descriptor(theirs)
	if spec.DescType(lo) == spec.DescWait && !spec.IwSW.On(lo) && !spec.IwIF.On(lo) {
		c.queueDiffers()
	}
}

// vtdWaitNowhere: the other side has stopped at a wait whose status it could not write.
func vtdWaitNowhere(c *Case) {
	if !c.stopped(theirs) {
		return
	}
	lo, hi := c.descriptor(theirs)
	if spec.DescType(lo) == spec.DescWait && spec.IwSW.On(lo) && !c.answers(emu.PA(hi)) {
		c.queueDiffers()
	}
}

// vtdProcessMask: the other side has stopped at a page-selective invalidation of a PASID with AM beyond
// MAMV.
func vtdProcessMask(c *Case) {
	if !c.stopped(theirs) {
		return
	}
	lo, hi := c.descriptor(theirs)
	if spec.DescType(lo) == spec.DescPASIDIOTLB && spec.PiG.Of(lo) == spec.GranPASIDPage && hi&0x3f > vtdMAMV {
		c.queueDiffers()
	}
}

// vtdNoDeviceTLB: our unit has stopped at a device-TLB invalidation, which it does not have.
func vtdNoDeviceTLB(c *Case) {
	if !c.stopped(ours) {
		return
	}
	lo, _ := c.descriptor(ours)
	wide := spec.IqaDW.On(c.is(ours, spec.OffIQA))
	if t := spec.DescType(lo); t == spec.DescDevTLB || t == spec.DescPASIDDevTLB && wide {
		c.queueDiffers()
	}
}

// vtdWidthIgnored: our unit has stopped because descriptors have a width that it does not have, or that
// its table mode does not allow. The other side takes what it finds.
func vtdWidthIgnored(c *Case) {
	rang := c.writes(spec.OffIQT) || c.writes(spec.OffGCMD)
	if rang && spec.FstsIQE.On(c.is(ours, spec.OffFSTS)) && spec.IqercdIQEI.Of(c.is(ours, spec.OffIQERCD)) == spec.IQEIWidth {
		c.queueDiffers()
	}
}

// vtdQueueStaysOn: the other side has refused to turn the queue off.
func vtdQueueStaysOn(c *Case) {
	off := c.writes(spec.OffGCMD) && !spec.GcmdQIE.On(c.step.Value)
	if d := c.find("GSTS_REG.QIES"); d != nil && off && d.Ours == 0 && c.unchanged(theirs, d) {
		c.claim(d)
		if d := c.find("IQH_REG.QH"); d != nil && d.Ours == 0 && c.unchanged(theirs, d) {
			c.claim(d)
		}
	}
}
