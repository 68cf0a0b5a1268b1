package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
)

// inspection is the document of inspect.
type inspection struct {
	Schema    string          `json:"schema"`
	IOMMU     string          `json:"iommu"`
	Registers []registerValue `json:"registers,omitempty"`
	Entries   []entryValue    `json:"entries,omitempty"`
	Tables    []tableValue    `json:"tables,omitempty"`

	InterruptTable  *irqTableValue  `json:"interrupt_table,omitempty"`  // the one of all requesters
	InterruptTables []irqTableValue `json:"interrupt_tables,omitempty"` // those that requesters have
	Interrupts      []irqValue      `json:"interrupts,omitempty"`       // present entries
	Queues          []queueValue    `json:"queues,omitempty"`

	Notes []string `json:"notes,omitempty"` // what the snapshot lacks
}

type registerValue struct {
	Name   string  `json:"name"`
	Offset string  `json:"offset"`
	Bytes  uint8   `json:"bytes"`
	Value  string  `json:"value"`
	Fields []field `json:"fields,omitempty"`
}

type entryValue struct {
	SID   string `json:"sid"`
	Last  string `json:"last_sid,omitempty"` // of neighbours that all have this content
	PASID string `json:"pasid"`              // empty: the device's own entry
	At    string `json:"at"`
	Stage string `json:"stage"` // what translates its requests
	structure

	next  emu.SourceID // the neighbour that would join
	words []uint64
}

type tableValue struct {
	Users  []string     `json:"users"` // SID, or SID/PASID
	Stage  string       `json:"stage"`
	At     string       `json:"at"`
	Over   string       `json:"over,omitempty"` // second-stage table that translates all addresses of this one
	Levels int          `json:"levels"`
	Domain uint32       `json:"domain"` // of the first user
	Leaves int          `json:"leaves"`
	Ranges []rangeValue `json:"ranges"`
	Note   string       `json:"note,omitempty"` // what is wrong with it
}

type rangeValue struct {
	First    string `json:"first"`
	Last     string `json:"last"` // inclusive
	PA       string `json:"pa"`
	Perm     string `json:"perm"`
	PageSize string `json:"page_size"`
	Pages    int    `json:"pages"`
}

// inspectParts are the arguments of inspect.
var inspectParts = []string{"registers", "context", "tables", "interrupts", "queues"}

func (a *app) inspectCommand() *cobra.Command {
	var f snapFlags
	var sid string
	var last int
	cmd := &cobra.Command{
		Use:   "inspect --regs FILE [--core FILE] [" + strings.Join(inspectParts, "|") + "]",
		Short: "Decode the registers, the entries and the page tables of a snapshot",
		Long: `inspect shows a snapshot: its registers, the context or device table entries and the PASID entries of
its devices, what its page tables map as ranges of adjacent pages of one size, the present entries of
its interrupt tables, and its queues and logs with what is pending in them. Without an argument it
shows all of these. Registers need no --core. --sid leaves out what is for other requesters; queues are
everybody's. --last adds what was taken out of the queues last and is still in memory.`,
		Example: "  iommulab inspect --regs regs.json registers\n" +
			"  iommulab inspect --regs regs.json --core core.elf.zst tables --sid 00:02.0\n" +
			"  iommulab inspect --regs amd/regs.json --core amd/core.elf.zst queues --last 4",
		ValidArgs: inspectParts,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usageError(cmd, "%q: want nothing more", args[1])
			}
			if len(args) == 1 {
				return oneOf(cmd, "part", args[0], inspectParts)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			parts := inspectParts
			if len(args) > 0 {
				parts = args
			}
			if err := f.need(cmd, parts[len(parts)-1] != "registers"); err != nil {
				return err
			}
			only := emu.SourceID(0)
			if sid != "" {
				var err error
				if only, err = parseSID(sid); err != nil {
					return fmt.Errorf("--sid: %w", err)
				}
			}
			if last < 0 {
				return usageError(cmd, "--last: %d, want a number from 0", last)
			}
			err := a.inspect(cmd.Context(), &f, parts, last, func(s emu.SourceID) bool { return sid == "" || s == only })
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&sid, "sid", "", "requester to show, as 0x10 or 00:02.0")
	cmd.Flags().IntVar(&last, "last", 0, "of each queue also the `N` entries that were taken out last")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) inspect(ctx context.Context, f *snapFlags, parts []string, last int, keep func(emu.SourceID) bool) error {
	var s *snap
	var err error
	if f.core == "" {
		s, err = a.loadRegs(f.regs)
	} else {
		s, err = a.load(f)
	}
	if err != nil {
		return err
	}
	x := inspection{Schema: "iommulab.inspect/1", IOMMU: s.arch.name}
	for _, p := range parts {
		switch p {
		case "registers":
			x.registers(s)
		case "context":
			err = x.entries(ctx, s, keep)
		case "tables":
			err = x.tables(ctx, s, keep)
		case "interrupts":
			err = x.interrupts(ctx, s, keep)
		case "queues":
			err = x.queues(ctx, s, last)
		}
		if err != nil {
			return err
		}
	}
	x.Notes = s.notes
	return a.output(&x, func(w io.Writer) error { return x.print(w, s.arch.title) })
}

func (x *inspection) registers(s *snap) {
	for _, r := range s.arch.registers(s.regs.Image) {
		words := make([]uint64, (r.size+7)/8)
		ok := true
		for i := range words {
			n := min(r.size-uint8(8*i), 8)
			v, have := registerAt(s.regs.Image, r.off+uint32(8*i), n)
			words[i], ok = v, ok && have
		}
		if !ok {
			continue
		}
		v := registerValue{Name: r.name, Offset: fmt.Sprintf("0x%03x", r.off), Bytes: r.size}
		for i := len(words) - 1; i >= 0; i-- {
			v.Value += fmt.Sprintf("%0*x", 2*int(min(r.size, 8)), words[i])
		}
		v.Value = "0x" + v.Value
		if r.layout != nil {
			v.Fields = s.arch.decode(r.layout, words).Fields
		}
		x.Registers = append(x.Registers, v)
	}
}

// maxRows bounds what a damaged snapshot makes inspect collect.
const maxRows = 1 << 20

func (x *inspection) entries(ctx context.Context, s *snap, keep func(emu.SourceID) bool) error {
	return s.arch.devices(s, func(e *entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !keep(e.sid) {
			return nil
		}
		if e.idle && x.joins(e) {
			return nil
		}
		if len(x.Entries) == maxRows {
			return fmt.Errorf("more than %d entries, want tables that end", maxRows)
		}
		v := entryValue{
			SID: showSID(e.sid), PASID: showPASID(e.pasid), At: hexOf(uint64(e.at)), Stage: e.root.kind,
			structure: s.arch.decode(e.layout, e.words),
		}
		if e.idle {
			v.next, v.words = e.sid+1, e.words
		}
		x.Entries = append(x.Entries, v)
		return nil
	})
}

// joins adds e to the entry shown last, if that is its neighbour with the same content.
func (x *inspection) joins(e *entry) bool {
	if len(x.Entries) == 0 {
		return false
	}
	v := &x.Entries[len(x.Entries)-1]
	if v.next != e.sid || !slices.Equal(v.words, e.words) {
		return false
	}
	v.Last = showSID(e.sid)
	v.next++
	return true
}

func (x *inspection) print(w io.Writer, title string) error {
	var b strings.Builder
	for _, r := range x.Registers {
		fmt.Fprintf(&b, "%s %-14s %s\n", r.Offset, r.Name, r.Value)
		wide := nameWidth(r.Fields)
		for _, f := range r.Fields {
			if f.Value == "0x0" {
				continue
			}
			help := f.Help
			if f.Addr != "" {
				help = f.Addr + " " + help
			}
			fmt.Fprintf(&b, "      %-*s = %-18s /* %s */\n", wide, f.Name, f.Value, help)
		}
	}
	for i := range x.Entries {
		e := &x.Entries[i]
		who := e.SID
		if e.Last != "" {
			who += " to " + e.Last
		}
		if e.PASID != "" {
			who += " PASID " + e.PASID
		}
		fmt.Fprintf(&b, "%s at %s: %s\n", who, e.At, e.Stage)
		if err := e.print(&b, title); err != nil {
			return err
		}
	}
	for _, t := range x.Tables {
		over := ""
		if t.Over != "" {
			over = " (input of the table at " + t.Over + ")"
		}
		fmt.Fprintf(&b, "%s table at %s%s, %d levels, domain %d, %d leaves, of %s\n",
			t.Stage, t.At, over, t.Levels, t.Domain, t.Leaves, strings.Join(t.Users, " "))
		if t.Note != "" {
			fmt.Fprintf(&b, "  %s\n", t.Note)
		}
		for _, r := range t.Ranges {
			fmt.Fprintf(&b, "  %s-%s -> %s %s, %d x %s\n", r.First, r.Last, r.PA, r.Perm, r.Pages, r.PageSize)
		}
	}
	if err := x.printInterrupts(&b, title); err != nil {
		return err
	}
	if err := x.printQueues(&b, title); err != nil {
		return err
	}
	for _, n := range x.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
