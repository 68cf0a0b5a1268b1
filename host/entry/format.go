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
	Unit  int // bytes that hardware reads and software stores atomically: 8 or 16
	// Used sets in mask, which is zero, the bits that hardware looks at when the entry holds raw. It
	// depends on no bit of raw that it does not set, and what it leaves out must not change how any
	// request ends. Reserved bits that hardware checks count as looked at.
	Used func(raw, mask []uint64)
	// Present reports whether hardware uses the entry: false for the blocking forms.
	Present func(raw []uint64) bool
	// Block turns raw into a blocking form by a change of unit 0 only.
	Block func(raw []uint64)
	// Safe marks bits that do not steer translation: they may have their old or their new value at
	// any time. Nil is none.
	Safe []uint64
	// Handshake: if the entry was not present, a reader that sees it present sees all that was stored
	// before. Without it a synchronisation is needed between filling an entry and making it
	// present.
	Handshake bool
	// ID is the field that tags what caches make of the entry, or 0: domain id, ASID, VMID.
	ID reg.Bits
	// Legal returns what is wrong with raw as an entry to be written, or nil.
	Legal func(raw []uint64) error
	// Fields names the fields that have bits in mask, for messages.
	Fields func(mask []uint64) []string
}

// The ways in which a rewrite cannot be planned.
var (
	// ErrSize: an entry does not have the number of words of its format.
	ErrSize = errors.New("wrong number of words")
	// ErrIllegal: the new entry is one that hardware would refuse.
	ErrIllegal = errors.New("illegal entry")
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
