package traces

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// Kind says what an event is.
type Kind uint8

// Kinds of events. The comment of each names the fields that carry something; the others are zero.
// Every kind has Time, SID and PASID.
const (
	// Read is a DMA read of Len bytes (0 = not recorded) at IOVA; PA is what it was translated to, if known.
	Read Kind = iota
	// Write is a DMA write; fields as in Read.
	Write
	// Access is a DMA of unknown direction; Perm is what its mapping allows.
	Access
	// Exec is an instruction fetch by a device; fields as in Read.
	Exec
	// ATS is a translation request; Perm is what was asked for.
	ATS
	// PRQ is a page request; Perm is what was asked for.
	PRQ
	// Map makes Len bytes at IOVA translate to PA with Perm. Without PA the replay chooses one.
	Map
	// Unmap removes everything that lies in Len bytes at IOVA.
	Unmap
	// Invalidate drops cached translations: Len bytes at IOVA (0 = all), of the domain in PA if it is
	// valid, of the requester SID if that is not NoSID.
	Invalidate
	// Attach puts SID into a domain; PA is the domain's number, if known.
	Attach
	// RegRead is a register read of Len bytes at offset IOVA; PA is the value, if known.
	RegRead
	// RegWrite is a register write of Len bytes at offset IOVA; PA is the value.
	RegWrite
	// IRQ is an interrupt request: a write of PA (the data) to IOVA (the address).
	IRQ
	// Marker is a note: PA is the index of its text in Header.Marks. IOVA, SID and Perm are what it is about.
	Marker

	numKinds
)

var kindNames = [numKinds]string{
	"read", "write", "access", "exec", "ats", "prq", "map", "unmap",
	"invalidate", "attach", "reg_read", "reg_write", "irq", "marker",
}

// String returns the name that files use, such as "reg_write".
func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// IsDMA reports whether the event is an access by a device to memory: Read, Write, Access or Exec.
func (k Kind) IsDMA() bool { return k <= Exec }

// ParseKind is the inverse of Kind.String.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if s == name {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q", s)
}

// Perm is a set of permissions.
type Perm uint8

// Permissions of a mapping, or what a request asks for.
const (
	PermR Perm = 1 << iota
	PermW
	PermX

	PermRW  = PermR | PermW
	permAll = PermR | PermW | PermX
)

var permNames = [permAll + 1]string{"", "r", "w", "rw", "x", "rx", "wx", "rwx"}

// String returns the letters that files use, such as "rw"; empty if there is none.
func (p Perm) String() string {
	if p <= permAll {
		return permNames[p]
	}
	return fmt.Sprintf("Perm(%#x)", uint8(p))
}

// ParsePerm is the inverse of Perm.String.
func ParsePerm(s string) (Perm, error) {
	for p, name := range permNames {
		if s == name {
			return Perm(p), nil
		}
	}
	return 0, fmt.Errorf("unknown permission %q", s)
}

// NoSID marks an event that belongs to no requester, such as a register write.
const NoSID emu.SourceID = 0xffff_ffff

// MaxLen is the largest length of an event in bytes: what 48 bits hold.
const MaxLen uint64 = 1<<48 - 1

// Event is one entry of a trace. It is plain data and comparable.
type Event struct {
	Time  uint64 // ns since the start of the trace; never less than that of the event before
	IOVA  emu.IOVA
	PA    emu.PA
	Len   uint64       // bytes; 0 = not recorded
	SID   emu.SourceID // NoSID if none
	PASID emu.PASID    // emu.NoPASID if none
	Kind  Kind
	Perm  Perm
	HasPA bool // PA is valid
}

// Need is the permission that a mapping must give for the event not to fault. For an Access it is
// empty: its mapping must exist, and allow something.
func (e *Event) Need() Perm {
	switch e.Kind {
	case Read:
		return PermR
	case Write:
		return PermW
	case Exec:
		return PermX
	default:
		return 0
	}
}

// check reports the first field that no file can hold.
func (e *Event) check() (field, want string, ok bool) {
	switch {
	case e.Kind >= numKinds:
		return "kind", "a defined kind", false
	case e.Perm > permAll:
		return "perm", "a set of r, w, x", false
	case e.Len > MaxLen:
		return "len", "less than 2^48", false
	case e.PASID != emu.NoPASID && e.PASID > emu.MaxPASID:
		return "pasid", "20 bits or none", false
	case !e.HasPA && e.PA != 0:
		return "pa", "zero where it is not known", false
	}
	return "", "", true
}
