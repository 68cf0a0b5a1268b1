package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Guest virtual APIC, 2.2.8: an interrupt of an entry with GuestMode=1 is posted to the page of a
// virtual APIC. If the guest runs its processor is told, else an entry of the GA log may tell the host.

// irrOffset is where the interrupt request register is in a virtual APIC page: eight words of 32 bits,
// 16 bytes apart.
const irrOffset = 0x200

// post sets the vector's bit in the virtual APIC page.
func (u *Unit) post(t *emu.Txn) {
	hi := t.Entry[7]
	v := spec.Irte128Vector.Of(hi)
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpAtomicOr, 8, StepPost
	a.Addr = emu.PA(spec.IrteVAPICRoot.Of(hi)<<12 + irrOffset + v/32*16)
	a.Data = [4]uint64{1 << (v % 32)}
	t.State = stVAPICWritten
}

// vapicWritten rings the doorbell of the processor that the guest runs on, or writes a GA log entry.
func (u *Unit) vapicWritten(t *emu.Txn) {
	lo, hi := t.Entry[6], t.Entry[7]
	switch {
	case t.Ans == emu.AnsError:
		u.fault(t, FaultVAPIC, StepPost, t.Act.Addr)
	case spec.IrteIsRun.On(lo):
		a := &t.Act
		a.Op, a.Msg, a.Step = emu.OpSend, emu.MsgMSI, StepDoorbell
		a.Addr, a.Data = messageAddress(irteDest(lo, hi), false), [4]uint64{Doorbell}
		t.State = stPosted
	case spec.IrteGALogIntr.On(lo):
		t.Entry[4] = spec.GaCode.Put(spec.GANotRunning) | spec.GaDeviceID.Put(uint64(t.Req.Source)) | spec.IrteGATag.Of(lo)
		u.writeLog(t, logGA, stPosted)
	default:
		u.posted(t)
	}
}

// Doorbell is the data of the message that tells a processor that its guest has an interrupt. It is no
// vector: what the processor does is to look into the virtual APIC page.
const Doorbell = 0

// posted ends an interrupt that is in the virtual APIC page.
func (u *Unit) posted(t *emu.Txn) {
	t.Res.Status = emu.Posted
	t.Done(StepPost)
}

// storeGATail stores the tail of the GA log where software wants to see it, if it said where.
func (u *Unit) storeGATail(t *emu.Txn) {
	at := u.reg.Get(rGATailAddr)
	if at == 0 {
		u.logRelease(t)
		return
	}
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, 8, StepGAWrite
	a.Addr, a.Data = emu.PA(at), [4]uint64{u.reg.Get(rGATail)}
	t.State = stGATailStored
}

func (u *Unit) gaTailStored(t *emu.Txn) { u.logRelease(t) }
