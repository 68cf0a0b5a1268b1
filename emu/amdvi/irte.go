package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Interrupt remapping, 2.2.5. An entry is in t.Entry[6] and [7]; that of 32 bits in the low half of
// the first.

// irteKey is the key of the entry of an index in the interrupt cache. It belongs to the device.
func irteKey(t *emu.Txn) emu.Key {
	return emu.Key{Tag: t.Tag, Addr: spec.MsiDataIndex.Of(uint64(t.Req.Data))}
}

// irteCached reports whether entries are cached.
func (u *Unit) irteCached() bool { return u.cache.Interrupt != nil && !u.control(spec.CtlIRTCacheDis) }

// remap finds the entry of an interrupt.
func (u *Unit) remap(t *emu.Txn) {
	w2 := t.Entry[2]
	index := spec.MsiDataIndex.Of(uint64(t.Req.Data))
	size := uint64(spec.IRTESize32)
	if u.control(spec.CtlGAEn) {
		size = spec.IRTESize128
	}
	t.At = emu.PA(spec.DteIRTRoot.Of(w2)<<6 + index*size)
	switch {
	case index>>spec.DteIntTabLen.Of(w2) != 0:
		u.fault(t, FaultIRTEIndex, StepIRTE, 0)
	case u.irteCached():
		t.Probe(emu.CacheInterrupt, irteKey(t), StepIRTECache, stIRTEProbed)
	default:
		u.missIRTE(t)
	}
}

// irteProbed uses a cached entry. One with GuestMode=1 is read all the same: destination, IsRun and
// GATag are never cached.
func (u *Unit) irteProbed(t *emu.Txn) {
	if t.Ans != emu.AnsOK {
		u.missIRTE(t)
		return
	}
	t.Entry[6], t.Entry[7] = t.In[0], t.In[1]
	if u.control(spec.CtlGAEn) && spec.IrteGuestMode.On(t.In[0]) {
		t.Fetch(t.At, spec.IRTESize128, StepIRTE, stIRTERefresh)
		return
	}
	u.irteReady(t)
}

func (u *Unit) missIRTE(t *emu.Txn) {
	if t.Solo {
		u.fetchIRTE(t)
		return
	}
	t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stIRTEWalker)
}

func (u *Unit) fetchIRTE(t *emu.Txn) {
	size := uint8(spec.IRTESize32)
	if u.control(spec.CtlGAEn) {
		size = spec.IRTESize128
	}
	t.Fetch(t.At, size, StepIRTE, stIRTE)
}

// irteFetched checks the entry. Only one without fault is cached.
func (u *Unit) irteFetched(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultIRTERead, StepIRTE, t.At)
		return
	}
	n := int(t.Act.Size+7) / 8
	if n == 1 {
		t.In[0] &= 0xffff_ffff
		t.In[1] = 0
	}
	t.Entry[6], t.Entry[7] = t.In[0], t.In[1]
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructInterrupt, t.At, t.Entry[6:6+n])
	}
	t.Aux[0] |= auxSupIOPF.Put(spec.IrteSupIOPF.Of(t.Entry[6]))
	if c := u.checkIRTE(t.Entry[6], t.Entry[7], n == 2); c != 0 {
		u.fault(t, c, StepIRTE, t.At)
		return
	}
	if !u.irteCached() {
		u.irteFilled(t)
		return
	}
	t.Act.Data = [4]uint64{t.Entry[6], t.Entry[7]}
	t.Fill(emu.CacheInterrupt, irteKey(t), 0, 0, StepIRTEFill, stIRTEFilled)
}

// checkIRTE returns the fault of an entry, or 0. Reserved bits count once RemapEn=1.
func (u *Unit) checkIRTE(lo, hi uint64, wide bool) uint16 {
	guestMode := wide && spec.IrteGuestMode.On(lo)
	l := &u.lim.irte[0]
	switch {
	case guestMode:
		l = &u.lim.irte[2]
	case wide:
		l = &u.lim.irte[1]
	}
	switch {
	case !spec.IrteRemapEn.On(lo):
		return FaultRemapEn
	case guestMode && spec.CtlGAMEn.Of(u.ctl) != 1:
		return FaultIRTEReserved
	case lo&l[0]|hi&l[1] != 0:
		return FaultIRTEReserved
	case !guestMode && spec.IrteIntType.Of(lo) > spec.IntTypeArbitrated:
		return FaultIRTEReserved
	}
	return 0
}

func (u *Unit) irteFilled(t *emu.Txn) {
	if t.Solo {
		u.irteReady(t)
		return
	}
	t.Release(emu.SlotWalker, StepWalker, stIRTEReady)
}

// irteRefresh takes what is never cached of an entry with GuestMode=1.
func (u *Unit) irteRefresh(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultIRTERead, StepIRTE, t.At)
		return
	}
	fresh := spec.IrteIsRun.Mask() | spec.Irte128DestLo.Mask() | spec.IrteGATag.Mask()
	t.Entry[6] = t.Entry[6]&^fresh | t.In[0]&fresh
	t.Entry[7] = t.Entry[7]&^spec.Irte128DestHi.Mask() | t.In[1]&spec.Irte128DestHi.Mask()
	u.irteReady(t)
}

// irteReady delivers the interrupt as the entry says.
func (u *Unit) irteReady(t *emu.Txn) {
	lo, hi := t.Entry[6], t.Entry[7]
	wide := u.control(spec.CtlGAEn)
	if wide && spec.IrteGuestMode.On(lo) {
		t.Order(StepInterruptOrder, stPost)
		return
	}
	dest, vector := spec.IrteDest.Of(lo), spec.IrteVector.Of(lo)
	if wide {
		vector = spec.Irte128Vector.Of(hi)
		if u.control(spec.CtlXTEn) {
			dest = irteDest(lo, hi)
		}
	}
	data := vector | spec.MsiDataMT.Put(spec.IrteIntType.Of(lo))
	u.sendInterrupt(t, messageAddress(dest, spec.IrteDM.On(lo)), uint32(data))
}

// irteDest returns the 32 bits of destination of an entry of 128 bits.
func irteDest(lo, hi uint64) uint64 {
	return spec.Irte128DestLo.Of(lo) | spec.Irte128DestHi.Of(hi)<<24
}
