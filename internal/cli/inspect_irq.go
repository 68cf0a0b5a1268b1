package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

// irqTable is an interrupt-remapping table of a snapshot.
type irqTable struct {
	at      emu.PA
	entries int
	on      bool           // interrupts are remapped
	mode    string         // what its destinations are, and what becomes of interrupts that name no entry
	users   []emu.SourceID // nil: all requesters
}

// irqEntry is a present entry of the table before it.
type irqEntry struct {
	index  int
	at     emu.PA
	source string                  // who may use it; empty: the users of the table
	uses   func(emu.SourceID) bool // the same; nil: the users of the table
	to     string                  // what becomes of the interrupt
	layout *reg.Layout
	words  []uint64
}

type irqTableValue struct {
	At      string   `json:"at"`
	Entries int      `json:"entries"`
	Present int      `json:"present"`
	On      bool     `json:"on"`
	Mode    string   `json:"mode"`
	Users   []string `json:"users,omitempty"`

	first, shown int // of the list of interrupts
}

type irqValue struct {
	Table  string `json:"table,omitempty"` // at which it is, where requesters have tables
	Index  int    `json:"index"`
	At     string `json:"at"`
	Source string `json:"source"`
	To     string `json:"to"`
	structure
}

// interrupts shows the interrupt tables and their present entries.
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
	all := len(kept) == 1<<16
	var table *irqTableValue
	var users string
	return s.arch.interrupts(s, func(t *irqTable) error {
		v := irqTableValue{At: hexOf(uint64(t.at)), Entries: t.entries, On: t.on, Mode: t.mode, first: len(x.Interrupts)}
		for _, u := range t.users {
			v.Users = append(v.Users, showSID(u))
		}
		users = strings.Join(v.Users, " ")
		switch {
		case t.users == nil:
			table = &v
			x.InterruptTable = table
		case all || slices.ContainsFunc(t.users, keep):
			x.InterruptTables = append(x.InterruptTables, v)
			table = &x.InterruptTables[len(x.InterruptTables)-1]
		default:
			table = nil
		}
		return ctx.Err()
	}, func(e *irqEntry) error {
		if table == nil {
			return nil
		}
		table.Present++
		if !all && e.uses != nil && !slices.ContainsFunc(kept, e.uses) {
			return nil
		}
		v := irqValue{
			Index: e.index, At: hexOf(uint64(e.at)), Source: e.source, To: e.to, structure: s.arch.decode(e.layout, e.words),
		}
		if table.Users != nil {
			v.Table, v.Source = table.At, users
		}
		if len(x.Interrupts) == maxRows {
			return fmt.Errorf("more than %d interrupts, want tables that end", maxRows)
		}
		x.Interrupts = append(x.Interrupts, v)
		table.shown++
		return ctx.Err()
	})
}

func (x *inspection) printInterrupts(b *strings.Builder, title string) error {
	tables := x.InterruptTables
	if x.InterruptTable != nil {
		tables = append([]irqTableValue{*x.InterruptTable}, tables...)
	}
	for i := range tables {
		t := &tables[i]
		state, of := "off", ""
		if t.On {
			state = "on"
		}
		if t.Users != nil {
			of = ", of " + strings.Join(t.Users, " ")
		}
		fmt.Fprintf(b, "interrupt table at %s, %d of %d entries present, remapping is %s, %s%s\n", t.At, t.Present, t.Entries, state, t.Mode, of)
		shown := x.Interrupts[t.first : t.first+t.shown]
		for i := range shown {
			e := &shown[i]
			fmt.Fprintf(b, "interrupt %d at %s, of %s: %s\n", e.Index, e.At, e.Source, e.To)
			if err := e.print(b, title); err != nil {
				return err
			}
		}
	}
	return nil
}
