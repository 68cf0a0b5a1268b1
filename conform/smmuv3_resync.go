package conform

import (
	"encoding/binary"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func smmuIndex(off uint32) int {
	return slices.IndexFunc(smmuRegisters, func(r Register) bool { return r.Off == off })
}

// smmuSettle brings both machines to the same state: memory that only one has written is made equal, the
// event queue of the other one becomes that of ours, and all caches are emptied by commands in a queue of
// our own, at the end of memory. What was there is put back.
func smmuSettle(r *Runner) (bool, error) {
	active := func(side int) bool {
		n := smmuIndex(spec.OffGERROR)
		return spec.GerrCMDQ.On(r.view[side].regs[n] ^ r.view[side].regs[n+1])
	}
	if active(ours) || active(theirs) {
		return false, nil // a queue that has stopped takes no commands
	}
	if n := smmuIndex(spec.OffGERROR); r.view[ours].regs[n] != r.view[theirs].regs[n] {
		return false, nil // nothing makes it equal
	}
	if err := r.equalize(append(r.back, smmuEvents(r)...)); err != nil {
		return false, err
	}
	r.back = nil
	at := r.prog.RAM + emu.PA(r.prog.Size) - emu.PageSize
	var commands []byte
	for _, w := range []uint64{spec.CmdCfgiSTERange, spec.CfgiRangeAll, spec.CmdTlbiNSNHAll, 0} {
		commands = binary.LittleEndian.AppendUint64(commands, w)
	}
	old := make([]byte, len(commands))
	if err := r.ours.Read(at, old); err != nil {
		return false, err
	}
	if err := r.store(at, commands); err != nil {
		return false, err
	}
	for side, p := range r.peers() {
		if err := smmuFlush(r, side, p, at); err != nil {
			return false, err
		}
	}
	return true, r.store(at, old)
}

// smmuEvents are the words of the event queue.
func smmuEvents(r *Runner) []emu.PA {
	base := r.view[ours].regs[smmuIndex(spec.OffEVENTQBase)]
	n := emu.PA(spec.EventSize) << min(spec.QBaseLog2.Of(base), 8)
	var words []emu.PA
	for pa := emu.PA(base & spec.QBaseAddr.Mask()); n > 0; n -= 8 {
		words = append(words, pa+n-8)
	}
	return words
}

// smmuFlush empties the caches of one machine, and makes the index of the event queue that of ours.
func smmuFlush(r *Runner, side int, p Peer, at emu.PA) error {
	reg := func(off uint32) uint64 { return r.view[side].regs[smmuIndex(off)] }
	for _, w := range []struct {
		off  uint32
		size uint8
		v    uint64
	}{
		{spec.OffCR0, 4, 0},
		{spec.OffCMDQBase, 8, uint64(at) | 2},
		{spec.OffCMDQProd, 4, 0},
		{spec.OffCMDQCons, 4, 0},
		{spec.OffCR0, 4, spec.Cr0CMDQEN.Mask()},
		{spec.OffCMDQProd, 4, 2},
		{spec.OffCR0, 4, 0},
		{spec.OffCMDQBase, 8, reg(spec.OffCMDQBase)},
		{spec.OffCMDQProd, 4, reg(spec.OffCMDQProd)},
		{spec.OffCMDQCons, 4, reg(spec.OffCMDQCons)},
		{spec.OffEVENTQProd, 4, r.view[ours].regs[smmuIndex(spec.OffEVENTQProd)]},
		{spec.OffCR0, 4, reg(spec.OffCR0)},
	} {
		if err := p.WriteReg(w.off, w.size, w.v); err != nil {
			return err
		}
	}
	return nil
}

// smmuRewrite makes the registers of the other side what they are on ours.
func smmuRewrite(r *Runner) (bool, error) {
	for i := range smmuRegisters {
		reg, v := &smmuRegisters[i], r.view[ours].regs[i]
		if r.view[theirs].regs[i] == v {
			continue
		}
		if err := r.theirs.WriteReg(reg.Off, reg.Size, v); err != nil {
			return false, err
		}
	}
	return true, nil
}
