package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// Address ranges that are looked at before any table, 2.1.

// interruptBase is the first address of the interrupt range.
const interruptBase = 0xfee0_0000

// interruptRange reports whether an address is in FEEx_xxxxh.
func interruptRange(addr uint64) bool { return addr>>20 == interruptBase>>20 }

// isInterrupt reports whether q is an interrupt message: a DWORD write to the interrupt range.
func isInterrupt(q *emu.Request) bool {
	return q.Type == emu.Untranslated && interruptRange(uint64(q.Addr)) &&
		q.Access&^emu.Priv == emu.Write && q.Len == 4 && q.Addr%4 == 0
}

// interruptAddress sorts out the requests to the interrupt range, whose tables are never consulted.
// It returns false if the request has ended.
func (u *Unit) interruptAddress(t *emu.Txn) bool {
	q := &t.Req
	c := uint16(FaultReadInterrupt)
	switch {
	case q.Type == emu.Translated:
		return true
	case q.Type == emu.TranslationReq:
		c = FaultTRRange
	case isInterrupt(q) && q.PASID != emu.NoPASID:
		t.Aux[0] |= auxInterrupt.Mask()
		c = FaultInterruptPASID
	case isInterrupt(q):
		t.Aux[0] |= auxInterrupt.Mask()
		t.Uses = emu.CacheEntry.Set() | emu.CacheInterrupt.Set()
		return true
	case q.Access&(emu.RW|emu.Atomic) == emu.Write:
		c = FaultWriteInterrupt
	}
	u.fault(t, c, StepInterruptRange, 0)
	return false
}

// hyperTransportRange reports whether an address is in FD_0000_0000h to FF_FFFF_FFFFh.
func hyperTransportRange(addr uint64) bool { return addr>>32 >= 0xfd && addr>>32 <= 0xff }

// Parts of the HyperTransport range, by their first address.
const (
	htSysMgt = 0xfd_f910_0000
	htOther  = 0xfd_f920_0000
	htPortIO = 0xfd_fc00_0000
	htConfig = 0xfd_fe00_0000
)

// hyperTransport applies what the DTE says of the HyperTransport range. It returns true if the
// address is to be translated, false if the request has ended.
func (u *Unit) hyperTransport(t *emu.Txn) bool {
	q, addr, w1 := &t.Req, uint64(t.Req.Addr), t.Entry[1]
	if q.Type == emu.TranslationReq {
		u.fault(t, FaultTRRange, StepSpecialRange, 0)
		return false
	}
	c := uint16(FaultSysMgtAddress)
	switch {
	case addr >= htSysMgt && addr < htOther:
		switch ctl := spec.DteSysMgt.Of(w1); {
		case ctl == spec.SysMgtTranslate:
			return true
		case ctl == spec.SysMgtPass, ctl == spec.SysMgtINTx && need(q) == emu.Write:
			c = 0
		default:
			c = FaultSysMgt
		}
	case addr >= htPortIO && addr < htConfig:
		switch spec.DteIoCtl.Of(w1) {
		case spec.IoCtlTranslate:
			return true
		case spec.IoCtlPass:
			c = 0
		default:
			c = FaultPortIO
		}
	case addr < htSysMgt:
		c = FaultInterruptReserved
	}
	if c != 0 {
		u.fault(t, c, StepSpecialRange, 0)
		return false
	}
	pass(q, &t.Res)
	t.Done(StepSpecialRange)
	return false
}
