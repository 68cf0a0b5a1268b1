package conform

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdReg returns a register of our unit as last seen.
func vtdReg(regs []uint64, off uint32) uint64 {
	for i := range vtdRegisters {
		if vtdRegisters[i].Off == off {
			return regs[i]
		}
	}
	return 0
}

// vtdState is what a runner remembers of a program for a VT-d unit.
type vtdState struct {
	root   uint64         // RTADDR_REG when it was last latched
	irta   uint64         // IRTA_REG when it was last latched
	on     bool           // TES
	passed map[uint8]bool // devices that were passed through since their context entry was last invalidated
}

func newVTDState() any { return &vtdState{passed: make(map[uint8]bool)} }

func (t *track) vtd() *vtdState { return t.state.(*vtdState) }

// vtdObserve notes the table pointers that are latched, and which devices are passed through.
func vtdObserve(r *Runner, s *Step) {
	t := r.track.vtd()
	if s.Op != RegWrite && s.Op != Transfer {
		return
	}
	regs := r.view[ours].regs
	written := s.Op == RegWrite
	if written && s.Off == spec.OffGCMD && spec.GcmdSRTP.On(s.Value) {
		t.root = vtdReg(regs, spec.OffRTADDR)
	}
	if written && s.Off == spec.OffGCMD && spec.GcmdSIRTP.On(s.Value) {
		t.irta = vtdReg(regs, spec.OffIRTA)
	}
	on := spec.GstsTES.On(vtdReg(regs, spec.OffGSTS))
	anew := on != t.on || written && s.Off == spec.OffGCMD && spec.GcmdSRTP.On(s.Value)
	t.on = on
	if spec.RtaddrTTM.Of(t.root) != spec.TTMScalable {
		return
	}
	for i, sid := range r.prog.Devices {
		e := r.ours.word(vtdPASID0(r.ours.word, t.root, sid))
		pass := spec.PasidP.On(e) && spec.PasidPGTT.Of(e) == spec.PGTTPassThrough
		t.passed[uint8(i)] = pass || t.passed[uint8(i)] && !anew && !(written && vtdFlushed(r, sid))
	}
}

// vtdPASID0 returns where the entry of PASID 0 of a requester is.
func vtdPASID0(word func(emu.PA) uint64, root uint64, sid emu.SourceID) emu.PA {
	return emu.PA(word(vtdDir0(word, root, sid)) & spec.PDirSMPTBLPTR.Mask())
}

// vtdDir0 returns where the first entry of the PASID directory of a requester is.
func vtdDir0(word func(emu.PA) uint64, root uint64, sid emu.SourceID) emu.PA {
	return emu.PA(word(vtdContext(word, root, sid)) & spec.SMCtxPASIDDIRPTR.Mask())
}

// vtdContext returns where the context entry of a requester is, in the table mode of the root pointer.
func vtdContext(word func(emu.PA) uint64, root uint64, sid emu.SourceID) emu.PA {
	at := emu.PA(root&spec.RtaddrRTA.Mask()) + emu.PA(sid>>8)*16
	if spec.RtaddrTTM.Of(root) == spec.TTMLegacy {
		return emu.PA(word(at)&spec.RootCTP.Mask()) + emu.PA(sid&0xff)*16
	}
	return emu.PA(word(at+emu.PA(sid>>7&1)*8)&spec.SMRootLCTP.Mask()) + emu.PA(sid&0x7f)*32
}

// vtdFlushed reports whether a descriptor that our unit has fetched in this step invalidates the context
// entry of a requester, in scalable mode.
func vtdFlushed(r *Runner, sid emu.SourceID) bool {
	for _, a := range r.ours.seen() {
		if a.write || a.size < spec.DescSize128 {
			continue
		}
		lo := r.ours.word(a.pa)
		wrong := spec.CcG.Of(lo) == 0 || spec.DescLayouts[spec.DescContext].Reserved([]uint64{lo, 0})[0] != 0
		if spec.DescType(lo) != spec.DescContext || wrong {
			continue
		}
		mask := emu.SourceID(7 &^ (7 >> spec.CcFM.Of(lo)))
		if spec.CcG.Of(lo) != spec.GranDevice || (emu.SourceID(spec.CcSID.Of(lo))^sid)&^mask == 0 {
			return true
		}
	}
	return false
}

// vtdClearFaults does what a driver does when it has read the faults.
func vtdClearFaults(r *Runner) (bool, error) {
	if err := r.both(vtdFRO+spec.FRCDStatus, 4, 1<<31); err != nil {
		return false, err
	}
	return true, r.both(spec.OffFSTS, 4, spec.FstsPFO.Mask())
}

// vtdRewrite writes the data of messages again, the tail of a queue that is off, and ICS without a change,
// which lets both units look at what is pending.
func vtdRewrite(r *Runner) (bool, error) {
	for _, off := range []uint32{spec.OffFEDATA, spec.OffIEDATA} {
		if err := r.both(off, 4, vtdReg(r.view[ours].regs, off)); err != nil {
			return false, err
		}
	}
	if !spec.GstsQIES.On(vtdReg(r.view[ours].regs, spec.OffGSTS)) {
		if err := r.both(spec.OffIQT, 8, vtdReg(r.view[ours].regs, spec.OffIQT)); err != nil {
			return false, err
		}
	}
	return true, r.both(spec.OffICS, 4, 0)
}

// vtdKickQueue writes the tail again: a queue that waits for it goes on, another one has nothing to do.
func vtdKickQueue(r *Runner) (bool, error) {
	for i, p := range r.peers() {
		if err := p.WriteReg(spec.OffIQT, 8, vtdReg(r.view[i].regs, spec.OffIQT)); err != nil {
			return false, err
		}
	}
	return true, nil
}

// vtdSkipDescriptor lets the queue that has stopped go on behind the descriptor at which it stands: in
// its place is one that does nothing, for as long as it takes. The other queue has passed there.
func vtdSkipDescriptor(r *Runner) (bool, error) {
	stopped := theirs
	if spec.FstsIQE.On(vtdReg(r.view[ours].regs, spec.OffFSTS)) {
		stopped = ours
	}
	regs := r.view[stopped].regs
	iqa := vtdReg(r.view[ours].regs, spec.OffIQA)
	at := emu.PA(iqa&spec.IqaIQA.Mask() + vtdReg(regs, spec.OffIQH))
	size := spec.DescSize128
	if spec.IqaDW.On(iqa) {
		size = spec.DescSize256
	}
	old := make([]byte, size)
	nothing := make([]byte, size)
	binary.LittleEndian.PutUint64(nothing, spec.PutDescType(spec.DescIEC))
	if err := r.ours.Read(at, old); err != nil {
		return false, nil // the queue is where no memory is
	}
	if err := r.store(at, nothing); err != nil {
		return false, err
	}
	if err := r.both(spec.OffFSTS, 4, spec.FstsIQE.Mask()); err != nil {
		return false, err
	}
	if ok, err := vtdKickQueue(r); !ok || err != nil {
		return ok, err
	}
	return true, r.store(at, old)
}

// vtdSettle is for requests that one machine has carried out and the other has not. Caches are emptied
// by latching the root pointer again, which units with CAP.ESRTPS do; that is no change if no other
// one has been written meanwhile.
func vtdSettle(r *Runner) (bool, error) {
	if err := r.equalize(r.back); err != nil {
		return false, err
	}
	regs := r.view[ours].regs
	gsts := vtdReg(regs, spec.OffGSTS)
	if !spec.CapESRTPS.On(r.target.Words[1]) || vtdReg(regs, spec.OffRTADDR) != r.track.vtd().root || !spec.GstsRTPS.On(gsts) {
		return false, nil
	}
	const levels = 0x96ff_ffff // what software restates of GSTS_REG (11.4.4.1)
	if err := r.both(spec.OffGCMD, 4, gsts&levels|spec.GcmdSRTP.Mask()); err != nil {
		return false, err
	}
	return vtdClearFaults(r)
}

// vtdSqueeze takes a descriptor out of the queue.
func vtdSqueeze(p *Program, i int) (*Program, bool) {
	return squeezeRing(p, i, spec.OffIQA, spec.OffIQT, spec.DescSize128, spec.DescSize256)
}
