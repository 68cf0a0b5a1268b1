package lab

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/entry"
)

// Options are what changes a plan besides the two contents.
type Options struct {
	// Unit is how many bytes software stores, and hardware at least reads, at once: 8 or 16. 0 is what the
	// architecture promises.
	Unit  int
	NoFWB bool // SMMUv3 without forced write-back
	Stall bool // SMMUv3 that may stall transactions
	Means entry.Means
	// ATS: the device may hold translations itself, which are dropped as well.
	ATS bool
	// Aliases is how many further requester ids the device has. Their entries get the same stores.
	Aliases int
	// PTE says which entry of a page table it is, for kinds that are one; nil: that of the matrix.
	PTE *PTE
	// Force leaves out the check whether an entry is legal.
	Force bool
}

// Command is one invalidation as the unit is given it.
type Command struct {
	Text  string
	Words [2]uint64
}

// drops are the commands that drop what caches hold of an entry with some contents.
type drops struct {
	entry   func(entries [][]uint64) []Command // cached copies of the entry, and what is cached by device below it
	made    func(made [][]uint64) []Command    // translations
	device  func() []Command                   // what the device holds itself
	install func(new []uint64) []Command       // what has to go after the entry blocked
}

// Kind is one kind of entry.
type Kind struct {
	IOMMU, Name string
	Clause      string // of the specification
	Words       int    // of 64 bits
	// Weak: the processors of the architecture make stores visible in any order between fences.
	Weak bool
	// Forms are contents for the matrix; the first Core of them stand for all.
	Forms []Form
	Core  int

	// Of an entry of a page table: the stage of translation, and the format in words.
	Stage   uint8
	Variant string
	pte     *PTE  // what the matrix is about; nil: no entry of a page table
	levels  int8  // of the bench's tables
	width   uint8 // of their input addresses

	format  func(o *Options) *entry.Format
	drops   func(o *Options) drops
	bench   func(o *Options, contents [][]uint64) (*bench, error)
	reverse func(emu.Unit) emu.Unit // reads the parts of the entry in the reverse order; nil: there is one part
	id      func(emu.Tag) uint64    // the part of a tag that Format.ID gives
	same    func(o *Options) func(c emu.CacheID, a, b [4]uint64) bool
}

// Form is a content that stands for others like it.
type Form struct {
	Name string
	Raw  []uint64
}

// Kinds returns every kind, in the order of the documentation.
func Kinds() []*Kind {
	return slices.Concat(vtdKinds(), vtdPTEKinds(), amdviKinds(), amdviPTEKinds(), smmuv3Kinds(), smmuv3PTEKinds())
}

// Find returns the kind called name of an architecture; of entries of a page table that of a stage, or the
// first with stage 0.
func Find(iommu, name string, stage uint8) (*Kind, bool) {
	for _, k := range Kinds() {
		if k.IOMMU == iommu && k.Name == name && (stage == 0 || k.Stage == stage) {
			return k, true
		}
	}
	return nil, false
}

// Format returns the format under some options.
func (k *Kind) Format(o *Options) *entry.Format {
	if k.pte != nil && o.PTE == nil {
		c := *o
		c.PTE = k.pte
		o = &c
	}
	f := k.format(o)
	if o.Unit != 0 && o.Unit < f.Unit {
		f.Unit = o.Unit
	}
	if o.Force {
		f.Legal = nil
	}
	return f
}

// Check says what is wrong with raw as an entry, with the clause. Errors wrap entry.ErrSize or
// entry.ErrIllegal.
func (k *Kind) Check(o *Options, raw []uint64) error {
	if len(raw) != k.Words {
		return fmt.Errorf("%d bytes, want %d: %w", len(raw)*8, k.Words*8, entry.ErrSize)
	}
	f := k.Format(o)
	if f.Legal == nil {
		return nil
	}
	if err := f.Legal(raw); err != nil {
		return fmt.Errorf("%w (%s): %w", entry.ErrIllegal, k.Clause, err)
	}
	return nil
}

// CheckOptions says what is wrong with options for a kind.
func (k *Kind) CheckOptions(o *Options) error {
	if err := k.checkPTE(o); err != nil {
		return err
	}
	f := k.Format(o)
	switch t := uint64(o.Means.Temp); {
	case t != 0 && f.ID == 0:
		return fmt.Errorf("temporary id %#x: a %s has no id", t, k.Name)
	case t != 0 && t > f.ID.Max():
		return fmt.Errorf("temporary id %#x is more than %#x", t, f.ID.Max())
	}
	return nil
}

// Assumes says, one line each, what a plan rests on.
func (k *Kind) Assumes(o *Options) []string {
	f := k.Format(o)
	list := []string{fmt.Sprintf("stores and reads of %d aligned bytes are atomic", f.Unit)}
	if f.Whole {
		list = append(list, fmt.Sprintf("hardware reads all %d bytes of the entry at once", k.Words*8))
	}
	if f.ID != 0 {
		m := &o.Means
		list = append(list, aloneText("old", m.OldAlone), aloneText("new", m.NewAlone))
		if m.Temp != 0 {
			list = append(list, fmt.Sprintf("id %#x is free: no entry and no cache holds it", m.Temp))
		} else {
			list = append(list, "there is no free id to go by")
		}
	}
	list = append(list, k.assumesPTE(o)...)
	if o.ATS {
		list = append(list, "ATS on: the device's own translations are dropped behind those of the unit")
	} else {
		list = append(list, "ATS off: the device holds no translations itself")
	}
	if f.SafeBetween != nil {
		list = append(list, "the device's ATS is off while EATS changes")
	}
	if o.Aliases > 0 && k.pte == nil {
		list = append(list, fmt.Sprintf("%d aliases: each store goes to their entries too, and their copies are dropped with it", o.Aliases))
	}
	return list
}

func aloneText(which string, alone bool) string {
	if alone {
		return "the " + which + " id is this entry's alone"
	}
	return "other entries share the " + which + " id"
}
