package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// amdviInterrupts yields the interrupt tables of the devices whose interrupts are remapped, each once with
// all who use it, in order of the first of them.
func amdviInterrupts(s *snap, table func(*irqTable) error, each func(*irqEntry) error) error {
	a, err := newAMDVi(s)
	if err != nil {
		return err
	}
	type key struct {
		at emu.PA
		n  int
	}
	var order []key
	users := make(map[key][]emu.SourceID)
	err = a.dtes(func(sid emu.SourceID, _ emu.PA, e *spec.DTE) error {
		if !e.IV() || spec.DteIntCtl.Of(e[2]) != spec.IntCtlRemap {
			return nil
		}
		k := key{e.IRTRoot(), 1 << min(spec.DteIntTabLen.Of(e[2]), spec.MaxIntTabLen)}
		if users[k] == nil {
			order = append(order, k)
		}
		users[k] = append(users[k], sid)
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range order {
		if err := a.irqTable(k.at, k.n, users[k], table, each); err != nil {
			return err
		}
	}
	return nil
}

// irqTable yields one table. GAEn says how long its entries are, 2.2.5.
func (a *amdviSnap) irqTable(at emu.PA, n int, users []emu.SourceID, table func(*irqTable) error, each func(*irqEntry) error) error {
	wide, bytes := spec.CtlGAEn.On(a.control), spec.IRTESize32
	if wide {
		bytes = spec.IRTESize128
	}
	t := irqTable{at: at, entries: n, on: spec.CtlIommuEn.On(a.control), users: users}
	t.mode = fmt.Sprintf("entries of %d bytes, ", bytes)
	if wide && spec.CtlXTEn.On(a.control) {
		t.mode += "32-bit destinations"
	} else {
		t.mode += "8-bit destinations"
	}
	if err := table(&t); err != nil {
		return err
	}
	for i := range n {
		x := irqEntry{index: i, at: at + emu.PA(i*bytes), layout: &spec.IRTE32Layout}
		if wide {
			x.words = a.read("interrupt table", x.at, 2)
			x.layout = amdviIRTE128(x.words)
		} else {
			w := a.read("interrupt table", x.at&^7, 1)
			x.words = []uint64{w[0] >> (8 * (x.at & 7)) & 0xffff_ffff}
		}
		if !spec.IrteRemapEn.On(x.words[0]) {
			continue
		}
		x.to = a.irqTarget(x.words, wide)
		if err := each(&x); err != nil {
			return err
		}
	}
	return nil
}

// irqTarget says what an entry makes of an interrupt.
func (a *amdviSnap) irqTarget(w []uint64, wide bool) string {
	dest, vector := spec.IrteDest.Of(w[0]), spec.IrteVector.Of(w[0])
	if wide {
		vector = spec.Irte128Vector.Get(w)
		if spec.CtlXTEn.On(a.control) {
			dest = spec.IRTE128Layout.Joints[0].Get(w)
		}
	}
	if wide && spec.IrteGuestMode.On(w[0]) {
		text := fmt.Sprintf("posted to the virtual APIC page at %#x, vector %#x", spec.IrteVAPICRoot.Get(w)<<12, vector)
		if spec.IrteIsRun.On(w[0]) {
			return text + fmt.Sprintf(", doorbell to processor %#x", dest)
		}
		return text + fmt.Sprintf(", GA tag %#x", spec.IrteGATag.Of(w[0]))
	}
	text := "vector"
	switch spec.IrteIntType.Of(w[0]) {
	case spec.IntTypeFixed:
	case spec.IntTypeArbitrated:
		text = "lowest priority, vector"
	default:
		text = fmt.Sprintf("reserved type %d, vector", spec.IrteIntType.Of(w[0]))
	}
	to := "processor"
	if spec.IrteDM.On(w[0]) {
		to = "logical destination"
	}
	return fmt.Sprintf("%s %#x of %s %#x", text, vector, to, dest)
}
