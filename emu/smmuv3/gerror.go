package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// errorActive reports whether a global error is active: GERROR and GERRORN differ (7.5).
func (u *Unit) errorActive(b reg.Bits) bool { return b.On(u.reg.Get(rGERROR) ^ u.reg.Get(rGERRORN)) }

// globalError makes an error active and interrupts, but for that of the error interrupt itself. Further
// ones of a kind are not logged until software has acknowledged it.
func (u *Unit) globalError(b reg.Bits) emu.Wake {
	if u.errorActive(b) {
		return 0
	}
	u.reg.Set(rGERROR, u.reg.Get(rGERROR)^b.Mask())
	if b == spec.GerrMSIGERROR {
		return 0
	}
	return u.message(msgGERROR)
}

// writeGERRORN follows an acknowledgement. Bits of errors that are not active stay.
func (u *Unit) writeGERRORN(c *reg.Change) emu.Wake {
	acked := (c.New ^ c.Old) & (u.reg.Get(rGERROR) ^ c.Old)
	u.reg.Set(rGERRORN, c.Old^acked)
	var w emu.Wake
	if spec.GerrCMDQ.On(acked) {
		w |= u.cmdDoorbell()
	}
	if spec.GerrEVENTQAbt.On(acked) {
		w |= u.eventsWritable()
	}
	return w
}
