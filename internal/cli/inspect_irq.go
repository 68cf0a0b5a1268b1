package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// irqTable is the interrupt-remapping table of a snapshot.
type irqTable struct {
	at      emu.PA
	entries int
	on      bool   // interrupts are remapped
	mode    string // what its destinations are, and what becomes of interrupts that name no entry
}

// irqEntry is a present entry of it.
type irqEntry struct {
	index  int
	at     emu.PA
	source string                  // who may use it
	uses   func(emu.SourceID) bool // the same
	to     string                  // what becomes of the interrupt
	layout *reg.Layout
	words  []uint64
}

type irqTableValue struct {
	At      string `json:"at"`
	Entries int    `json:"entries"`
	Present int    `json:"present"`
	On      bool   `json:"on"`
	Mode    string `json:"mode"`
}

type irqValue struct {
	Index  int    `json:"index"`
	At     string `json:"at"`
	Source string `json:"source"`
	To     string `json:"to"`
	structure
}

// interrupts shows the interrupt table and its present entries.
func (x *inspection) interrupts(ctx context.Context, s *snap, keep func(emu.SourceID) bool) error {
	if s.arch.interrupts == nil {
		return nil
	}
	var kept []emu.SourceID
	for sid := range emu.SourceID(1 << 16) {
		if keep(sid) {
			kept = append(kept, sid)
		}
	}
	shown := func(e *irqEntry) bool { return len(kept) == 1<<16 || slices.ContainsFunc(kept, e.uses) }
	var present int
	table, err := s.arch.interrupts(s, func(e *irqEntry) error {
		present++
		if shown(e) {
			x.Interrupts = append(x.Interrupts, irqValue{
				Index: e.index, At: hexOf(uint64(e.at)), Source: e.source, To: e.to, structure: decodeStruct(e.layout, e.words),
			})
		}
		return ctx.Err()
	})
	if err != nil || table == nil {
		return err
	}
	x.InterruptTable = &irqTableValue{
		At: hexOf(uint64(table.at)), Entries: table.entries, Present: present, On: table.on, Mode: table.mode,
	}
	return nil
}

func (x *inspection) printInterrupts(b *strings.Builder, title string) error {
	t := x.InterruptTable
	if t == nil {
		return nil
	}
	state := "off"
	if t.On {
		state = "on"
	}
	fmt.Fprintf(b, "interrupt table at %s, %d of %d entries present, remapping is %s, %s\n", t.At, t.Present, t.Entries, state, t.Mode)
	for i := range x.Interrupts {
		e := &x.Interrupts[i]
		fmt.Fprintf(b, "interrupt %d at %s, of %s: %s\n", e.Index, e.At, e.Source, e.To)
		if err := e.print(b, title); err != nil {
			return err
		}
	}
	return nil
}
