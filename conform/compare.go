package conform

import (
	"cmp"
	"encoding/binary"
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// DiffKind says what differs.
type DiffKind uint8

// What can differ.
const (
	DiffRegister DiffKind = iota // a field of a register, by hardware or by the write itself
	DiffRead                     // the answer to a register read
	DiffOutcome                  // whether an access of a device was carried out
	DiffData                     // what a device read
	DiffMemory                   // a word of memory
	DiffMessage                  // the interrupt messages of a step: how many, or the first one that differs
)

// Diff is one difference after a step.
type Diff struct {
	Kind   DiffKind
	Name   string // DiffRegister: register and field
	PA     emu.PA // DiffMemory
	Ours   uint64
	Theirs uint64

	reg   int   // DiffRegister: index of the register
	part  field // DiffRegister: what of it differs
	whole bool  // messages: Ours and Theirs are numbers of messages
	by    *Deviation
}

// String returns the difference in one line.
func (d *Diff) String() string {
	switch d.Kind {
	case DiffRegister:
		return fmt.Sprintf("%s: ours %#x, theirs %#x", d.Name, d.Ours, d.Theirs)
	case DiffRead:
		return fmt.Sprintf("read returns: ours %#x, theirs %#x", d.Ours, d.Theirs)
	case DiffOutcome:
		return fmt.Sprintf("DMA: ours %s, theirs %s", outcome(d.Ours), outcome(d.Theirs))
	case DiffData:
		return fmt.Sprintf("DMA read: ours %#x, theirs %#x", d.Ours, d.Theirs)
	case DiffMemory:
		return fmt.Sprintf("memory at %#x: ours %#x, theirs %#x", uint64(d.PA), d.Ours, d.Theirs)
	}
	if d.whole {
		return fmt.Sprintf("messages: ours %d, theirs %d", d.Ours, d.Theirs)
	}
	return fmt.Sprintf("message: ours %#x, theirs %#x", d.Ours, d.Theirs)
}

func outcome(v uint64) string {
	if v != 0 {
		return "done"
	}
	return "aborted"
}

func truth(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}

// key names the place of a difference that stays: a field of a register or a word of memory.
type key struct {
	kind DiffKind
	name string
	pa   emu.PA
}

func (d *Diff) key() key { return key{d.Kind, d.Name, d.PA} }

// pair is what both sides show in a place.
type pair struct{ ours, theirs uint64 }

// lasting are differences that were explained when they arose and that stay until either side
// changes.
type lasting map[key]pair

// refresh forgets the differences of registers that are not what they were: those where a side has
// changed, and those of records that have been written anew.
func (l lasting) refresh(t *Target, before [2][]uint64, after [2]*view) {
	if len(l) == 0 {
		return
	}
	anew := ""
	for i := range t.registers {
		for side := range before {
			if after[side].regs[i]&^before[side][i]&t.registers[i].Begins != 0 {
				anew = t.registers[i].Record
			}
		}
	}
	for i := range t.registers {
		r := &t.registers[i]
		for _, f := range r.fields() {
			k := key{kind: DiffRegister, name: name(r, f)}
			p, ok := l[k]
			if !ok {
				continue
			}
			now := pair{after[ours].regs[i] & f.mask >> f.lo, after[theirs].regs[i] & f.mask >> f.lo}
			if p != now || anew != "" && r.Record == anew {
				delete(l, k)
			}
		}
	}
}

// covers reports whether d is one of them.
func (l lasting) covers(d *Diff) bool {
	p, ok := l[d.key()]
	return ok && p == pair{d.Ours, d.Theirs}
}

// keep notes the explained differences that can stay.
func (l lasting) keep(diffs []Diff) {
	for i := range diffs {
		if d := &diffs[i]; d.by != nil && (d.Kind == DiffRegister || d.Kind == DiffMemory) {
			l[d.key()] = pair{d.Ours, d.Theirs}
		}
	}
}

// registers appends the fields in which the registers of both sides differ.
func (t *Target) diffRegisters(diffs []Diff, ours, theirs []uint64, old lasting) []Diff {
	for i := range t.registers {
		if ours[i] == theirs[i] {
			continue
		}
		r := &t.registers[i]
		for _, f := range r.fields() {
			a, b := ours[i]&f.mask>>f.lo, theirs[i]&f.mask>>f.lo
			if a == b {
				continue
			}
			d := Diff{Kind: DiffRegister, Name: name(r, f), Ours: a, Theirs: b, reg: i, part: f}
			if !old.covers(&d) {
				diffs = append(diffs, d)
			}
		}
	}
	return diffs
}

func name(r *Register, f field) string {
	if f.name == "" {
		return r.Name
	}
	return r.Name + "." + f.name
}

// explainedBits returns the bits at a register access that lasting differences cover, and those of
// identity registers in which our unit is another one on purpose.
func (t *Target) explainedBits(s *Step, old lasting) uint64 {
	var m uint64
	for i, r := range t.identity {
		if d := t.Words[i] ^ t.Ours[i]; r.Off <= s.Off && s.Off < r.Off+uint32(r.Size) {
			m |= d >> (8 * (s.Off - r.Off))
		}
	}
	for i := range t.registers {
		r := &t.registers[i]
		if r.Off+uint32(r.Size) <= s.Off || s.Off+uint32(s.Size) <= r.Off {
			continue
		}
		for _, f := range r.fields() {
			if _, ok := old[key{kind: DiffRegister, name: name(r, f)}]; !ok {
				continue
			}
			if r.Off >= s.Off {
				m |= f.mask << (8 * (r.Off - s.Off))
			} else {
				m |= f.mask >> (8 * (s.Off - r.Off))
			}
		}
	}
	return m
}

// diffStep appends what differs in what a step itself showed.
func (t *Target) diffStep(diffs []Diff, s *Step, ours, theirs *view, old lasting) []Diff {
	add := func(k DiffKind, a, b uint64) {
		if a != b {
			diffs = append(diffs, Diff{Kind: k, Ours: a, Theirs: b, reg: -1})
		}
	}
	switch s.Op {
	case RegRead:
		m := t.explainedBits(s, old)
		add(DiffRead, ours.read&^m, theirs.read&^m)
	case Transfer, Interrupt:
		add(DiffOutcome, truth(ours.ok), truth(theirs.ok))
		if ours.ok && theirs.ok {
			add(DiffData, ours.data, theirs.data)
		}
	}
	if len(ours.msgs) != len(theirs.msgs) {
		return append(diffs, Diff{Kind: DiffMessage, Ours: uint64(len(ours.msgs)), Theirs: uint64(len(theirs.msgs)), reg: -1, whole: true})
	}
	for i := range ours.msgs {
		a, b := ours.msgs[i], theirs.msgs[i]
		if a.packed() == b.packed() { // of destinations of 32 bits the upper ones are not in it
			add(DiffMessage, uint64(a.Addr), uint64(b.Addr))
		}
		add(DiffMessage, a.packed(), b.packed())
	}
	return diffs
}

// compareMessages puts messages in order, those that differ in what packed leaves out too.
func compareMessages(a, b Message) int {
	return cmp.Or(cmp.Compare(a.packed(), b.packed()), cmp.Compare(a.Addr, b.Addr))
}

// packed returns address and data in one word, for comparison.
func (m Message) packed() uint64 { return uint64(m.Addr)<<32 | uint64(m.Data) }

// diffMemory compares words of memory.
func diffMemory(diffs []Diff, a, b Peer, words []emu.PA, old lasting) ([]Diff, error) {
	for _, pa := range words {
		x, err := word(a, pa)
		if err != nil {
			return diffs, err
		}
		y, err := word(b, pa)
		if err != nil {
			return diffs, err
		}
		if d := (Diff{Kind: DiffMemory, PA: pa, Ours: x, Theirs: y, reg: -1}); x != y && !old.covers(&d) {
			diffs = append(diffs, d)
		}
	}
	return diffs, nil
}

// diffPages compares whole pages, at the end of a program.
func diffPages(diffs []Diff, a, b Peer, pages []emu.PA, old lasting) ([]Diff, error) {
	var x, y [emu.PageSize]byte
	for _, pa := range pages {
		if err := a.Read(pa, x[:]); err != nil {
			return diffs, err
		}
		if err := b.Read(pa, y[:]); err != nil {
			return diffs, err
		}
		if x == y {
			continue
		}
		for i := 0; i < len(x); i += 8 {
			d := Diff{Kind: DiffMemory, PA: pa + emu.PA(i), reg: -1,
				Ours: binary.LittleEndian.Uint64(x[i:]), Theirs: binary.LittleEndian.Uint64(y[i:])}
			if d.Ours != d.Theirs && !old.covers(&d) {
				diffs = append(diffs, d)
			}
		}
	}
	return diffs, nil
}

// Known returns the id of the deviation that explains the difference, or "unknown".
func (d *Diff) Known() string {
	if d.by == nil {
		return "unknown"
	}
	return d.by.ID
}
