package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuGuards are the fields of CR0 while which registers take no writes.
var smmuGuards = map[uint32]uint64{
	spec.OffCR1:           spec.Cr0SMMUEN.Mask() | spec.Cr0CMDQEN.Mask() | spec.Cr0EVENTQEN.Mask(),
	spec.OffCR2:           spec.Cr0SMMUEN.Mask(),
	spec.OffSTRTABBase:    spec.Cr0SMMUEN.Mask(),
	spec.OffSTRTABBaseCfg: spec.Cr0SMMUEN.Mask(),
	spec.OffCMDQBase:      spec.Cr0CMDQEN.Mask(),
	spec.OffCMDQCons:      spec.Cr0CMDQEN.Mask(),
	spec.OffEVENTQBase:    spec.Cr0EVENTQEN.Mask(),
	spec.OffEVENTQProd:    spec.Cr0EVENTQEN.Mask(),
}

// smmuWrote returns the register that the step writes to, if the other side has what was written.
func (c *Case) smmuWrote() (off uint32, ok bool) {
	s := c.step
	if s.Op != RegWrite || len(c.diffs) == 0 {
		return 0, false
	}
	n := slices.IndexFunc(smmuRegisters, func(r Register) bool { return r.Off <= s.Off && s.Off < r.Off+uint32(r.Size) })
	if n < 0 {
		return 0, false
	}
	r := &smmuRegisters[n]
	shift := 8 * (s.Off - r.Off)
	mask := ^uint64(0) >> (64 - 8*uint(s.Size)) << shift
	return r.Off, (c.is(theirs, r.Off)^s.Value<<shift)&mask == 0 && (c.is(theirs, r.Off)^c.was(theirs, r.Off))&^mask == 0
}

// smmuClaimRegister claims what differs in a register, and in the one that acknowledges it.
func (c *Case) smmuClaimRegister(off uint32) {
	for i := range c.diffs {
		d := &c.diffs[i]
		if d.Kind != DiffRegister {
			continue
		}
		if at := smmuRegisters[d.reg].Off; at == off || at == off+4 && (off == spec.OffCR0 || off == spec.OffIRQCtrl) {
			c.claim(d)
		}
	}
}

func smmuNotGuarded(c *Case) {
	off, ok := c.smmuWrote()
	if on := c.is(ours, spec.OffCR0) & smmuGuards[off]; ok && on != 0 {
		c.smmuClaimRegister(off)
	}
}

// smmuKept expects that ours has taken what there is of a register.
func smmuKept(c *Case) {
	off, ok := c.smmuWrote()
	if !ok || off == spec.OffGBPA {
		return
	}
	if missing := c.is(ours, off) &^ c.is(theirs, off); missing == 0 || off == spec.OffGERRORN {
		c.smmuClaimRegister(off)
	}
}

// smmuMessageKept looks for what was written to a register of a message.
func smmuMessageKept(c *Case) {
	s := c.step
	if s.Op != RegRead || s.Size != 4 || !slices.Contains(smmuIrqCfg, s.Off) || c.after[ours].read != 0 {
		return
	}
	for i := c.index - 1; i >= 0; i-- {
		if w := &c.prog.Steps[i]; w.Op == RegWrite && w.Off == s.Off && w.Size == 4 {
			if c.after[theirs].read == w.Value {
				c.claim(c.kind(DiffRead))
			}
			return
		}
	}
}

// smmuNotClosed compares with the event that is not written while the error is active.
func smmuNotClosed(c *Case) {
	if _, ok := c.transfer(); ok && spec.GerrEVENTQAbt.On(c.was(ours, spec.OffGERROR)^c.was(ours, spec.OffGERRORN)) {
		c.smmuClaim(smmuQuestion{})
	}
}
