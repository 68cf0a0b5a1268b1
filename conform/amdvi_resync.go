package conform

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdSettle brings both machines to the same state: memory that only one has written is made equal, the
// event log is turned off and on again with the pointers of ours, and all caches are emptied by commands
// in a buffer of our own, at the end of memory. What was there is put back.
func amdSettle(r *Runner) (bool, error) {
	if err := r.equalize(r.back); err != nil {
		return false, err
	}
	r.back = nil
	at := r.prog.RAM + emu.PA(r.prog.Size) - emu.PageSize
	var commands []byte
	for _, d := range r.prog.Devices {
		commands = binary.LittleEndian.AppendUint64(commands, spec.CmdOpcode.Put(spec.CmdInvalidateDevtab)|uint64(d))
		commands = binary.LittleEndian.AppendUint64(commands, 0)
	}
	commands = binary.LittleEndian.AppendUint64(commands, spec.CmdOpcode.Put(spec.CmdInvalidateAll))
	commands = binary.LittleEndian.AppendUint64(commands, 0)
	old := make([]byte, len(commands))
	if err := r.ours.Read(at, old); err != nil {
		return false, err
	}
	if err := r.store(at, commands); err != nil {
		return false, err
	}
	for side, p := range r.peers() {
		if err := amdFlush(r, side, p, at, uint64(len(commands))); err != nil {
			return false, err
		}
	}
	r.amdFlushed()
	if err := r.store(at, old); err != nil {
		return false, err
	}
	return true, r.amdLog()
}

// amdFlush empties the caches of one machine. A buffer that has stopped goes on where that of QEMU is.
func amdFlush(r *Runner, side int, p Peer, at emu.PA, n uint64) error {
	reg := func(side int, off uint32) uint64 { return r.regs[side][amdIndex(off)] }
	control := reg(side, spec.OffControl)
	quiet := control &^ (spec.CtlIommuEn.Mask() | spec.CtlCmdBufEn.Mask() | spec.CtlEventLogEn.Mask() | spec.CtlEventIntEn.Mask() | spec.CtlComWaitIntEn.Mask())
	head, tail := r.track.amd().head, r.track.amd().tail
	for _, w := range []struct {
		off uint32
		v   uint64
	}{
		{spec.OffControl, quiet},
		{spec.OffStatus, amdConditions},
		{spec.OffCmdBufBase, uint64(at) | spec.RingLen.Put(spec.MinRingLen)},
		{spec.OffCmdHead, 0},
		{spec.OffCmdTail, n},
		{spec.OffControl, quiet | spec.CtlIommuEn.Mask() | spec.CtlCmdBufEn.Mask()},
		{spec.OffControl, quiet},
		{spec.OffCmdBufBase, reg(side, spec.OffCmdBufBase)},
		{spec.OffCmdHead, head},
		{spec.OffCmdTail, tail},
		{spec.OffEventTail, reg(ours, spec.OffEventTail)},
		{spec.OffEventHead, reg(side, spec.OffEventHead)},
		{spec.OffControl, control},
	} {
		if err := p.WriteReg(w.off, 8, w.v); err != nil {
			return err
		}
	}
	return nil
}

// amdFlushed notes what emptying the caches has done to the other unit.
func (r *Runner) amdFlushed() {
	s := r.track.amd()
	clear(s.tlb)
	s.cmdBase = emu.PA(r.regs[theirs][amdIndex(spec.OffCmdBufBase)] & spec.RingBase.Mask())
	s.cmdLen = spec.CommandSize << spec.RingLen.Of(r.regs[theirs][amdIndex(spec.OffCmdBufBase)])
	for i, d := range r.prog.Devices {
		e, ok := amdEntry(func(pa emu.PA) (uint64, bool) { return r.ours.mem.Load64(pa) }, s.devTab, uint64(d))
		s.remap[uint8(i)] = !ok || !amdPasses(e)
	}
}

// amdLog makes the event logs equal.
func (r *Runner) amdLog() error {
	base := emu.PA(r.regs[ours][amdIndex(spec.OffEventLogBase)] & spec.RingBase.Mask())
	var words []emu.PA
	for i := range emu.PA(emu.PageSize / 8) {
		words = append(words, base+8*i)
	}
	return r.equalize(words)
}

// amdSqueeze takes a command out of the buffer.
func amdSqueeze(p *Program, i int) (*Program, bool) {
	return squeezeRing(p, i, spec.OffCmdBufBase, spec.OffCmdTail, spec.CommandSize)
}
