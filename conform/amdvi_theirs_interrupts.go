package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// interrupt is a message of a device. Those that do not get through are never reported.
func (f *amdStory) interrupt() {
	s := f.c.step
	data := s.Value
	if !f.control(spec.CtlIommuEn) {
		f.dev(amdInterruptsAlways)
	}
	id := uint64(f.c.source())
	f.tables()
	e, ok := f.entry(id, readByInterrupt)
	if !ok {
		return
	}
	if !spec.DteIV.On(e[2]) {
		f.passes()
		return
	}
	if f.c.model.Result().Fault.Code&0xf == spec.EventIllegalDTE {
		f.dev(amdEntryValues)
	}
	logical := spec.MsiAddrDM.On(uint64(s.Addr))
	switch kind := spec.MsiDataMT.Of(data); {
	case kind <= spec.IntTypeArbitrated:
		f.deliver(e, data)
	case kind == 2: // SMI
		f.dev(amdSMI)
		f.dev(amdInterruptsSilent)
	case !logical && (kind == 4 && spec.DteNMIPass.On(e[2]) || kind == 5 && spec.DteInitPass.On(e[2]) || kind == 7 && spec.DteEIntPass.On(e[2])):
		f.passes()
	default:
		f.dev(amdInterruptsSilent)
	}
}

// passes lets the message through as it is.
func (f *amdStory) passes() { f.sends(emu.PA(f.c.step.Addr), uint32(f.c.step.Value)) }

func (f *amdStory) sends(addr emu.PA, data uint32) {
	f.ok = true
	f.msgs = append(f.msgs, Message{addr, data})
}

// deliver applies IntCtl.
func (f *amdStory) deliver(e []uint64, data uint64) {
	switch spec.DteIntCtl.Of(e[2]) {
	case spec.IntCtlPass:
		f.dev(amdPassForgets)
		f.sends(interruptRange<<20, amdLevel)
	case spec.IntCtlRemap:
		f.remaps(e, data)
	default:
		f.dev(amdInterruptsSilent)
	}
}

// amdLevel is a bit of message data that means nothing for messages that are not of level type.
const amdLevel = 1 << 14

// remaps remaps a message.
func (f *amdStory) remaps(e []uint64, data uint64) {
	index := spec.MsiDataIndex.Of(data)
	wide := f.control(spec.CtlGAEn)
	root := emu.PA(spec.DteIRTRoot.Of(e[2]) << 6)
	var lo, hi uint64
	var ok bool
	if wide {
		at := root + emu.PA(index*spec.IRTESize128)
		lo, ok = f.load(at)
		hi, _ = f.load(at + 8)
	} else {
		at := root + emu.PA(index*spec.IRTESize32)
		lo, ok = f.load(at &^ 7)
		lo = lo >> (8 * (at & 4)) & 0xffff_ffff
	}
	if index>>spec.DteIntTabLen.Of(e[2]) != 0 || spec.DteIntTabLen.Of(e[2]) > spec.MaxIntTabLen {
		f.dev(amdIntTabLen)
	}
	if !ok || !spec.IrteRemapEn.On(lo) || spec.IrteGuestMode.On(lo) || spec.IrteIntType.Of(lo) > spec.IntTypeArbitrated {
		f.dev(amdInterruptsSilent)
		return
	}
	layout := &spec.IRTE32Layout
	if wide {
		layout = &spec.IRTE128Layout
	}
	if r := layout.Reserved([]uint64{lo, hi}[:layout.Bits/64+layout.Bits%64/32]); r[0] != 0 || len(r) > 1 && r[1] != 0 {
		f.dev(amdIRTEReserved)
	}
	f.dev(amdMessageLevel)
	dest, vector := spec.IrteDest.Of(lo), spec.IrteVector.Of(lo)
	if wide {
		vector = spec.Irte128Vector.Of(hi)
		if f.control(spec.CtlXTEn) && f.c.target.Mode == amdX2APIC {
			dest = spec.Irte128DestLo.Of(lo) | spec.Irte128DestHi.Of(hi)<<24
		}
	}
	addr := uint64(interruptRange<<20) | spec.MsiAddrDest.Put(dest) | spec.MsiAddrDM.PutBool(spec.IrteDM.On(lo)) | dest>>8<<40
	if spec.IrteRqEoi.On(lo) {
		f.dev(amdEOIHint)
		addr |= 1 << 3
	}
	f.sends(emu.PA(addr), uint32(vector|spec.MsiDataMT.Put(spec.IrteIntType.Of(lo))|amdLevel))
}
