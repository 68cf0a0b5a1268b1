package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/pagetable"
)

// arch is what the commands need to know about an architecture: how its structures look, how its unit
// is made, and where its tables are.
type arch struct {
	name    string   // in results
	aliases []string // in snapshots of others
	title   string   // for people
	kinds   []structKind
	// registers describes the window of a snapshot.
	registers func(img emu.RegImage) []register
	// newUnit returns a unit that Load can fill from a snapshot.
	newUnit func() (emu.Unit, error)
	// layoutOf returns the layout of the structure of which t has just fetched words w, or nil. It brings
	// words of the other byte order into ours.
	layoutOf func(u emu.Unit, t *emu.Txn, w []uint64) *reg.Layout
	// devices yields every device and PASID entry of a snapshot.
	devices func(s *snap, each func(*entry) error) error
	// interrupts yields the interrupt tables, each before its present entries.
	interrupts func(s *snap, table func(*irqTable) error, each func(*irqEntry) error) error
	// queues yields the queues and logs in memory.
	queues func(s *snap, each func(*queue) error) error
	// deviations are those of recorders, for walk.
	deviations []deviation
	// meaning says in words what a structure stands for, or nothing; nil: never.
	meaning func(l *reg.Layout, words []uint64) string
}

// structKind is a structure that decode prints.
type structKind struct {
	name  string // on the command line
	bytes []int  // sizes that are right
	// layout returns the layout for a content.
	layout func(words []uint64) *reg.Layout
}

// register is one register of a window.
type register struct {
	name   string
	off    uint32
	size   uint8
	layout *reg.Layout // may be nil
}

// entry is the entry of a device or of one of its PASIDs.
type entry struct {
	sid    emu.SourceID
	pasid  emu.PASID // NoPASID: the device's own entry
	at     emu.PA
	layout *reg.Layout
	words  []uint64
	root   root   // tables that it points at
	more   []root // and further ones, for other addresses
	parent root   // second stage that translates all addresses in those of a nested entry
	idle   bool   // many requesters have the same and no tables: neighbours are shown together
}

// root says which tables translate the requests of an entry. Roots are compared.
type root struct {
	kind   string // "second stage", "first stage", "pass-through", "none", ...
	table  emu.PA
	levels int // 0: no tables
	domain uint32
	format pagetable.Format // of the tables
	signed bool             // input addresses are sign-extended
	vaBits uint8            // of input addresses; 0: all that the levels give
	upper  bool             // they are at the upper end
	tbi    bool             // their top byte is ignored
	big    bool             // entries are big-endian
	wxn    bool             // what may be written must not be executed
}

// archs lists what this build knows, in the order of messages.
var archs = []*arch{&vtdArch, &amdviArch, &smmuv3Arch}

func archNames() []string {
	var names []string
	for _, a := range archs {
		names = append(names, a.name)
	}
	return names
}

// findArch returns the architecture called name.
func findArch(name string) (*arch, bool) {
	for _, a := range archs {
		if a.name == name {
			return a, true
		}
		for _, n := range a.aliases {
			if n == name {
				return a, true
			}
		}
	}
	return nil, false
}

func (a *arch) kindNames() []string {
	var names []string
	for _, k := range a.kinds {
		names = append(names, k.name)
	}
	return names
}

func (a *arch) kind(name string) (*structKind, bool) {
	for i := range a.kinds {
		if a.kinds[i].name == name {
			return &a.kinds[i], true
		}
	}
	return nil, false
}

// allKinds lists the kinds of all architectures, for completion.
func allKinds() []string {
	var names []string
	for _, a := range archs {
		for _, n := range a.kindNames() {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// kindsHelp lists the kinds of each architecture, for help.
func kindsHelp() string {
	var lines []string
	for _, a := range archs {
		lines = append(lines, "Kinds of "+a.name+": "+known(a.kindNames())+".")
	}
	return strings.Join(lines, "\n\n")
}

// fixed is a structKind with one layout.
func fixed(name string, l *reg.Layout) structKind {
	return structKind{name: name, bytes: []int{(int(l.Bits) + 7) / 8}, layout: func([]uint64) *reg.Layout { return l }}
}

// namedRegisters lists the registers of a specification.
func namedRegisters(named []reg.Reg) []register {
	list := make([]register, len(named))
	for i, r := range named {
		list[i] = register{r.Name, r.Off, r.Size, r.Layout}
	}
	return list
}

// addressRange writes n units of 2^lg2 bytes from the unit on that holds addr.
func addressRange(addr uint64, lg2 int, n uint64) string {
	first := addr >> lg2 << lg2
	last := first + n<<lg2 - 1
	if lg2 >= 64 || n<<lg2>>lg2 != n || last < first {
		return fmt.Sprintf("addresses %#x to the end", first)
	}
	return fmt.Sprintf("addresses %#x to %#x", first, last)
}

// known joins names for a message.
func known(names []string) string { return strings.Join(names, ", ") }
