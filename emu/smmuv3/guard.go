package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Which registers take a write depends on what is enabled, 6.3: a write that comes at the wrong time is
// ignored. Enabled is what CR0 or IRQ_CTRL says, and what it still says while an update is under way.

// inUse returns the bits of CR0 that are set, or are not yet acknowledged as clear.
func (u *Unit) inUse() uint64 { return u.reg.Get(rCR0) | u.ack }

// guarded keeps the old value of the bits of a register that are in use. It returns whether any others
// changed.
func (u *Unit) guarded(c *reg.Change, keep uint64) bool {
	c.New = c.New&^keep | c.Old&keep
	u.reg.Set(c.Index, c.New)
	return c.New != c.Old
}

// writeCR1 follows a write: cacheability of tables and of queues (6.3.11).
func (u *Unit) writeCR1(c *reg.Change) {
	var keep uint64
	if spec.Cr0SMMUEN.On(u.inUse()) {
		keep |= spec.Cr1TableIC.Mask() | spec.Cr1TableOC.Mask() | spec.Cr1TableSH.Mask()
	}
	if u.inUse()&(spec.Cr0CMDQEN.Mask()|spec.Cr0EVENTQEN.Mask()|spec.Cr0PRIQEN.Mask()) != 0 {
		keep |= spec.Cr1QueueIC.Mask() | spec.Cr1QueueOC.Mask() | spec.Cr1QueueSH.Mask()
	}
	u.guarded(c, keep)
}

// whole returns all bits if an enable is in use.
func (u *Unit) whole(enable reg.Bits) uint64 {
	if enable.On(u.inUse()) {
		return ^uint64(0)
	}
	return 0
}

// writeIndex follows a write to an index register: bits above those of the queue's size are not kept.
func (u *Unit) writeIndex(index int, q *queue, flags uint64) {
	u.reg.Set(index, u.reg.Get(index)&(u.indexMask(q)|flags))
}

// writeQueue follows a write to the base of a queue or to the index that is the unit's.
func (u *Unit) writeQueue(c *reg.Change, q *queue, enable reg.Bits, flags uint64) {
	u.guarded(c, u.whole(enable))
	if c.Index != q.base {
		u.writeIndex(c.Index, q, flags)
	}
}

// irqOf is the enable that guards each register of a message.
func irqOf(index int) reg.Bits {
	switch {
	case index <= rGerrorIrq2:
		return spec.IrqGERROR
	case index <= rEventqIrq2:
		return spec.IrqEVENTQ
	}
	return spec.IrqPRIQ
}

func (u *Unit) writeIrqCfg(c *reg.Change) {
	var keep uint64
	if irqOf(c.Index).On(u.reg.Get(rIrqCtrl) | u.reg.Get(rIrqCtrlAck)) {
		keep = ^uint64(0)
	}
	u.guarded(c, keep)
}

// effect follows the write of a register.
func (u *Unit) effect(c *reg.Change) emu.Wake {
	switch c.Effect {
	case effCR0:
		return u.writeCR0(c)
	case effCR1:
		u.writeCR1(c)
	case effCR2:
		u.guarded(c, u.whole(spec.Cr0SMMUEN))
		u.latch(u.ack)
	case effGBPA:
		return u.writeGBPA(c)
	case effIrqCtrl:
		return u.writeIrqCtrl(c)
	case effGERRORN:
		return u.writeGERRORN(c)
	case effIrqCfg:
		u.writeIrqCfg(c)
	case effStrtab:
		u.guarded(c, u.whole(spec.Cr0SMMUEN))
		u.setStreamTable()
	case effCmdqCfg:
		u.writeQueue(c, &cmdq, spec.Cr0CMDQEN, spec.CmdqErr.Mask())
	case effCmdqProd:
		u.writeIndex(rCmdqProd, &cmdq, 0)
		return u.cmdDoorbell()
	case effEventqCfg:
		u.s.LastEvent = lastEvent{}
		u.writeQueue(c, &eventq, spec.Cr0EVENTQEN, spec.QOverflow.Mask())
	case effEventqCons:
		u.writeIndex(rEventqCons, &eventq, spec.QOverflow.Mask())
		return u.eventsWritable()
	case effPriqCfg:
		u.writeQueue(c, &priq, spec.Cr0PRIQEN, spec.QOverflow.Mask())
	case effPriqCons:
		u.writeIndex(rPriqCons, &priq, spec.QOverflow.Mask())
	case effAtosCtrl:
		return u.writeAtosCtrl(c)
	case effAtos:
		u.guarded(c, u.atosKeeps(c.Index))
	case effPm, effPmBits, effPmCapture, effPmIrq:
		return u.pmEffect(c)
	}
	return 0
}
