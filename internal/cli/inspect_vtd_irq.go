package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdInterrupts yields the interrupt table, if there is one, and its present entries in order of index.
func vtdInterrupts(s *snap, table func(*irqTable) error, each func(*irqEntry) error) error {
	ecap, _ := registerAt(s.regs.Image, spec.OffECAP, 8)
	irta, ok := registerAt(s.regs.Image, spec.OffIRTA, 8)
	gsts, _ := registerAt(s.regs.Image, spec.OffGSTS, 4)
	if !ok || !spec.EcapIR.On(ecap) || !spec.GstsIRTPS.On(gsts) {
		return nil
	}
	extended := spec.IrtaEIME.On(irta)
	t := irqTable{
		at:      emu.PA(irta & spec.IrtaIRTA.Mask()),
		entries: 2 << spec.IrtaS.Of(irta),
		on:      spec.GstsIRES.On(gsts),
		mode:    "8-bit destinations, ",
	}
	if extended {
		t.mode = "32-bit destinations, "
	}
	if spec.GstsCFIS.On(gsts) && !extended {
		t.mode += "compatibility format passes"
	} else {
		t.mode += "compatibility format is blocked"
	}
	if err := table(&t); err != nil {
		return err
	}
	for i := range t.entries {
		at := t.at + emu.PA(i)*spec.IRTESize
		words := s.read("interrupt table", at, 2)
		e := (*spec.IRTE)(words)
		if !e.P() {
			continue
		}
		x := irqEntry{index: i, at: at, to: vtdIRQTarget(e, extended), layout: vtdIRTE(words), words: words}
		x.source, x.uses = vtdIRQSource(e)
		if err := each(&x); err != nil {
			return err
		}
	}
	return nil
}

// vtdIRQSource says who may use an entry (5.1.4).
func vtdIRQSource(e *spec.IRTE) (text string, uses func(emu.SourceID) bool) {
	sid := emu.SourceID(e.SID())
	switch e.SVT() {
	case spec.SVTNone:
		return "any source", func(emu.SourceID) bool { return true }
	case spec.SVTSID:
		ignored := emu.SourceID(7 &^ (7 >> e.SQ()))
		if ignored == 0 {
			return showSID(sid), func(s emu.SourceID) bool { return s == sid }
		}
		return fmt.Sprintf("%s but for bits %#x", showSID(sid), uint32(ignored)),
			func(s emu.SourceID) bool { return (s^sid)&^ignored == 0 }
	case spec.SVTBus:
		return fmt.Sprintf("buses %02x to %02x", uint32(sid>>8), uint32(sid&0xff)),
			func(s emu.SourceID) bool { return s>>8 >= sid>>8 && s>>8 <= sid&0xff }
	}
	return "no source", func(emu.SourceID) bool { return false }
}

// vtdDelivery are the delivery modes of messages.
var vtdDelivery = [8]string{"vector", "lowest priority, vector", "SMI", "reserved mode 3", "NMI", "INIT", "reserved mode 6", "ExtINT"}

// vtdIRQTarget says what an entry makes of an interrupt.
func vtdIRQTarget(e *spec.IRTE, extended bool) string {
	if e.Posted() {
		text := fmt.Sprintf("posted to the descriptor at %#x, vector %#x", uint64(e.PDA()), e.V())
		if spec.IrteURG.On(e[0]) {
			text += ", urgent"
		}
		return text
	}
	mode := spec.IrteDLM.Of(e[0])
	text := vtdDelivery[mode]
	if mode <= 1 {
		text += fmt.Sprintf(" %#x", e.V())
	}
	to := "processor"
	if spec.IrteDM.On(e[0]) {
		to = "logical destination"
	}
	text += fmt.Sprintf(" of %s %#x", to, e.DST(extended))
	if spec.IrteTM.On(e[0]) {
		text += ", level-triggered"
	}
	return text
}
