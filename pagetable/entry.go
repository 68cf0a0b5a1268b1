package pagetable

import "github.com/iommulab/iommulab/emu"

// Perm is what a translation allows.
type Perm uint8

// The permissions. A translation without any is the same as none.
const (
	Read Perm = 1 << iota
	Write
	Exec
)

// String writes the permissions as "RWX", with a dash for none.
func (p Perm) String() string {
	return [8]string{"-", "R", "W", "RW", "X", "RX", "WX", "RWX"}[p&7]
}

// Attr is the attributes of a leaf besides its permissions (memory type, snooping ...). The bits
// belong to the format, which names them; zero is every format's default.
type Attr uint16

// Kind is what an entry is.
type Kind uint8

// The kinds of an entry.
const (
	Empty     Kind = iota // no translation; the walker ignores all other bits
	SubTable              // OA is the next table
	Leaf                  // OA is the output address
	Malformed             // the walker reports an error
)

// String returns the kind in one word.
func (k Kind) String() string {
	return [4]string{"empty", "table", "leaf", "malformed"}[k&3]
}

// Entry is one decoded entry.
type Entry struct {
	// OA is the base of the leaf or the address of the next table. For a leaf of several slots
	// that are not replicated it is the address that belongs to the slot.
	OA   emu.PA
	Kind Kind
	// Lg2 is the log2 size of a leaf in bytes, the same in each of its slots. For a link that skips
	// levels it is the log2 size of what the next table translates, less than the slot spans; for
	// any other table it is zero.
	Lg2 uint8
	State
}

// State is all about an entry but where it leads. (It is a struct of its own because the compiler keeps
// structs of up to four fields in registers, and walks decode one entry per level.)
type State struct {
	// Perm is what this entry grants. The effective permission is the intersection with those
	// of the tables above; formats that do not accumulate grant everything in tables.
	Perm Perm
	// Accessed and Dirty are the bits that hardware sets. Dirty is false for a table.
	Accessed, Dirty bool
	// Attr is zero for a table.
	Attr Attr
}
