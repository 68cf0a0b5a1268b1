package conform

import "github.com/iommulab/iommulab/emu/smmuv3/spec"

// smmuDeviations is what is known of QEMU's SMMUv3, release 11.1. docs/conform.md prints it.
var smmuDeviations = []*Deviation{
	{
		ID: "reset-values", Right: Either, Clause: "6.3.25",
		What:  "LOG2SIZE of queues comes up as 19; the value is unknown",
		match: smmuResetValues,
	},
}

func smmuResetValues(c *Case) {
	if c.index >= 0 {
		return
	}
	for _, name := range []string{"CMDQ_BASE.LOG2SIZE", "EVENTQ_BASE.LOG2SIZE"} {
		if d := c.find(name); d != nil && d.Ours == 0 && d.Theirs == spec.MaxQueueSize {
			c.claim(d)
		}
	}
}

var smmuUnseen = []*Deviation{}
var smmuUnsuitable = pcUnsuitable
