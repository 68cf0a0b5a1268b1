package entry

import (
	"errors"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu/reg"
)

// Format describes one kind of entry to the planner. Unit 0 holds the bits that decide whether the
// entry is present at all.
type Format struct {
	Name  string
	Words int // 64-bit words
	Unit  int // bytes that software stores, and hardware at least reads, atomically: 8 or 16
	// Whole: hardware reads the entry in one piece. It sees what memory held at one moment.
	Whole bool
	// Used sets in mask, which is zero, the bits that hardware looks at when the entry holds raw. It
	// depends on no bit of raw that it does not set, and what it leaves out must not change how any
	// request ends. Reserved bits that hardware checks count as looked at.
	Used func(raw, mask []uint64)
	// Present reports whether hardware uses the entry: false for the blocking forms.
	Present func(raw []uint64) bool
	// Block turns raw into a blocking form by a change of unit 0 only.
	Block func(raw []uint64)
	// Pass turns raw into a form that lets requests pass as they are, by a change of unit 0 only. Nil:
	// there is none.
	Pass func(raw []uint64)
	// Below returns what hardware can act by when it reads raw while a cache, kept by device and not by
	// id, still holds what lies below other: the structures that its pointers lead to. Nil, or a nil
	// result: nothing but raw itself.
	Below func(raw, other []uint64) []uint64
	// Across returns what hardware acts by when it reads raw and finds a translation that other made, under
	// an id that both have: where the entry says more of a request than how it is translated. Nil, or a nil
	// result: as other does.
	Across func(raw, other []uint64) []uint64
	// Safe marks bits that do not steer translation: they may have their old or their new value at
	// any time. Nil is none.
	Safe []uint64
	// SafeBetween returns further safe bits, of a rewrite from old to new. Nil: there are none.
	SafeBetween func(old, new []uint64) []uint64
	// Apart marks bits that only requests of another kind look at, as those for interrupts: what they say
	// is decided for these alone, and may change before the rest or behind it. Nil is none.
	Apart []uint64
	// Handshake: if the entry was not present, a reader that sees it present sees all that was stored
	// before. Without it a synchronisation is needed between filling an entry and making it
	// present.
	Handshake bool
	// ID is the field that tags what caches make of the entry, or 0: a domain id or its like.
	ID reg.Bits
	// Legal returns what is wrong with raw as an entry to be written, or nil.
	Legal func(raw []uint64) error
	// Fields names the fields that have bits in mask, for messages.
	Fields func(mask []uint64) []string
	// Paging: the entry is one of a page table. Nil: it is not.
	Paging *Paging
	// linux lays out what Linux 7.3 does when a device moves to another domain; nil is linuxByWord.
	linux func(b *builder)
}

// The ways in which a rewrite fails.
var (
	// ErrSize: an entry does not have the number of words of its format.
	ErrSize = errors.New("wrong number of words")
	// ErrIllegal: the new entry is one that hardware would refuse.
	ErrIllegal = errors.New("illegal entry")
	// ErrNoForm: entries of this kind have no form that the writer goes by.
	ErrNoForm = errors.New("no such form of the entry")
	// ErrChanged: somebody else has stored to the entry meanwhile.
	ErrChanged = errors.New("entry changed by somebody else")
)

func (f *Format) check(old, new []uint64) error {
	if len(old) != f.Words || len(new) != f.Words {
		return fmt.Errorf("entry: %s: %d and %d words, want %d: %w", f.Name, len(old), len(new), f.Words, ErrSize)
	}
	if f.Legal != nil {
		if err := f.Legal(new); err != nil {
			return fmt.Errorf("entry: %s: %w: %w", f.Name, ErrIllegal, err)
		}
	}
	return nil
}

// used returns the bits that hardware looks at.
func (f *Format) used(raw []uint64) []uint64 {
	mask := make([]uint64, f.Words)
	f.Used(raw, mask)
	return mask
}

// Effective returns raw reduced to the bits that hardware looks at.
func (f *Format) Effective(raw []uint64) []uint64 {
	eff := f.used(raw)
	for i := range eff {
		eff[i] &= raw[i]
	}
	return eff
}

// Same reports whether hardware does the same with both contents.
func (f *Format) Same(a, b []uint64) bool {
	return slices.Equal(f.used(a), f.used(b)) && slices.Equal(f.Effective(a), f.Effective(b))
}

// like is Same but for safe bits.
func (f *Format) like(a, b []uint64) bool {
	ua, ub := f.used(a), f.used(b)
	for i := range ua {
		if ua[i] != ub[i] || (a[i]^b[i])&ua[i]&^f.safe(i) != 0 {
			return false
		}
	}
	return true
}

// between returns the format as it is for a rewrite from old to new.
func (f *Format) between(old, new []uint64) *Format {
	if f.SafeBetween == nil {
		return f
	}
	g := *f
	g.Safe, g.SafeBetween = slices.Clone(f.SafeBetween(old, new)), nil
	for i, m := range f.Safe {
		g.Safe[i] |= m
	}
	return &g
}

// safe returns the safe bits of word i.
func (f *Format) safe(i int) uint64 {
	if i < len(f.Safe) {
		return f.Safe[i]
	}
	return 0
}

// perUnit is the number of words of a unit.
func (f *Format) perUnit() int { return f.Unit / 8 }

// units is the number of units of an entry.
func (f *Format) units() int { return (f.Words + f.perUnit() - 1) / f.perUnit() }

// unit returns the words of unit u.
func (f *Format) unit(raw []uint64, u int) []uint64 {
	n := f.perUnit()
	return raw[u*n : min((u+1)*n, len(raw))]
}

// differ reports whether unit u differs between a and b.
func (f *Format) differ(a, b []uint64, u int) bool {
	return !slices.Equal(f.unit(a, u), f.unit(b, u))
}

// fieldNames names the fields of l that have bits in mask.
func fieldNames(l *reg.Layout, mask []uint64) []string {
	var names []string
	for _, fd := range l.Fields {
		if fd.Get(mask) != 0 {
			names = append(names, fd.Name)
		}
	}
	if slices.ContainsFunc(l.Reserved(mask), func(w uint64) bool { return w != 0 }) {
		names = append(names, "reserved bits")
	}
	return names
}

// clean checks what entries of all kinds have in common: that no reserved bit is set, and that no
// address, a field that counts pages, is wider than haw bits, or 52 if haw is 0.
func clean(l *reg.Layout, raw []uint64, haw uint8, addrs ...reg.Bits) error {
	for i, w := range l.Reserved(raw) {
		if w != 0 {
			return fmt.Errorf("reserved bits %#x set in word %d", w, i)
		}
	}
	if haw == 0 {
		haw = 52
	}
	for _, a := range addrs {
		if pa := a.Of(raw[a.Word()]) << 12; pa>>haw != 0 {
			return fmt.Errorf("address %#x is wider than %d bits", pa, haw)
		}
	}
	return nil
}

// maskOf returns a field of an entry as ones.
func maskOf(b reg.Bits, words int) []uint64 {
	m := make([]uint64, words)
	b.Set(m, ^uint64(0))
	return m
}
