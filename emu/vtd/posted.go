package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// Interrupt posting, 5.2. Hardware updates the descriptor in one atomic operation on its cache line.
// Here that is three: the request bit is set, then the control word is read, then ON is set by a
// compare-and-swap. Software that clears ON before it takes the request bits cannot tell the
// difference: if ON was already set when the word was read, the bit is there by then.

// pidControl is the offset of the word with ON, SN, NV and NDST, and of the half of the descriptor
// that has reserved bits.
const pidControl = 32

// post begins to post the interrupt of the entry in t.Entry. The descriptor may not show it before
// the requester's earlier writes are visible.
func (u *Unit) post(t *emu.Txn) { t.Order(StepInterruptOrder, stPostOrdered) }

func (u *Unit) postOrdered(t *emu.Txn) {
	pda := (*spec.IRTE)(t.Entry[:2]).PDA()
	if uint64(pda)&u.lim.hawMask != 0 {
		u.fault(t, FaultPIDAccess, StepPID, pda)
		return
	}
	t.Fetch(pda+pidControl, 32, StepPID, stPID)
}

// pidFetched checks the descriptor and requests the vector.
func (u *Unit) pidFetched(t *emu.Txn) {
	e := (*spec.IRTE)(t.Entry[:2])
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPIDAccess, StepPID, e.PDA())
		return
	}
	if t.In[0]&u.lim.pid[auxExtended.Of(t.Aux[0])]|t.In[1]|t.In[2]|t.In[3] != 0 {
		u.fault(t, FaultPIDReserved, StepPID, e.PDA())
		return
	}
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpAtomicOr, 8, StepPIR
	a.Addr = e.PDA() + emu.PA(e.V()>>6)*8
	a.Data = [4]uint64{1 << (e.V() & 63)}
	t.State = stPIRSet
}

func (u *Unit) pirSet(t *emu.Txn) {
	pda := (*spec.IRTE)(t.Entry[:2]).PDA()
	if t.Ans == emu.AnsError {
		u.fault(t, FaultPIDAccess, StepPIR, pda)
		return
	}
	t.FetchMore(pda+pidControl, 8, StepPID, stPIDControl)
}

// pidNotify decides whether a notification follows: if none is outstanding, and the interrupt is
// urgent or notifications are not suppressed.
func (u *Unit) pidNotify(t *emu.Txn) {
	e := (*spec.IRTE)(t.Entry[:2])
	w := t.In[0]
	switch {
	case t.Ans == emu.AnsError:
		u.fault(t, FaultPIDAccess, StepPID, e.PDA())
	case spec.PidON.On(w), !spec.IrteURG.On(e[0]) && spec.PidSN.On(w):
		t.Res.Status, t.Res.PA, t.Res.Perm, t.Res.Lg2 = emu.Posted, e.PDA(), emu.Write, 64
		t.Done(StepPIR)
	default:
		a := &t.Act
		a.Op, a.Addr, a.Size, a.Step = emu.OpCAS, e.PDA()+pidControl, 8, StepPIDNotify
		a.Data = [4]uint64{0: w, 2: w | spec.PidON.Mask()}
		t.State = stPIDNotified
	}
}

// pidNotified sends the notification, or looks at what the control word has become meanwhile.
func (u *Unit) pidNotified(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.pidNotify(t)
		return
	}
	w := t.Act.Data[0]
	dst := spec.PidNDST8.Of(w)
	if auxExtended.On(t.Aux[0]) {
		dst = spec.PidNDST.Of(w)
	}
	t.Res.PA, t.Res.Data = messageAddress(uint32(dst)), messageData(uint8(spec.PidNV.Of(w)))
	u.interruptOrdered(t)
}
