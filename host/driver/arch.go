package driver

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// Arch is what an architecture adds. Its methods are called with the driver entered (see Core.Enter), and
// call nothing of Driver. What they return as errors begins with the driver's name.
type Arch interface {
	// Probe completes v, of which SID and Spec are set: ATS and PRI, and what its entries hang on.
	Probe(v *Device) error
	// Release takes back what Probe has made. No domain is attached to v, and its entries block.
	Release(v *Device) error

	// Domain checks what is asked of m, an identity, paging or nested domain. An identity domain has its
	// id set; of a paging domain First and Dirty are set. It returns what completes m once it has an id; nil if
	// nothing does.
	Domain(m *Domain) (build func() error, err error)
	// Format is what the entries of m's table look like, as m.Dirty says.
	Format(m *Domain) pagetable.Format
	// CanTrack reports whether hardware can keep dirty flags in the table of m.
	CanTrack(m *Domain) bool

	// Check says why (v, pasid) cannot have m, which may be nil: to be blocked it can always be.
	Check(v *Device, pasid emu.PASID, m *Domain) error
	// Prepare does what comes before the entry of (v, pasid) is rewritten for m; nil: blocked.
	Prepare(v *Device, pasid emu.PASID, m *Domain) error
	// Target is the entry to rewrite so that (v, pasid) has m, or at present has it; At is 0 if it does
	// not exist and build does not ask for it.
	Target(v *Device, pasid emu.PASID, m *Domain, build bool) (*entry.Target, error)
	// Words is what that entry holds.
	Words(v *Device, pasid emu.PASID, m *Domain) []uint64
	// Settle does what comes behind the rewrite; that the attachment has m is noted after it.
	Settle(v *Device, pasid emu.PASID, m *Domain) error
	// Drain makes sure that no page request of (v, pasid), which had the domain old, is left anywhere.
	Drain(v *Device, pasid emu.PASID, old *Domain) error

	// Forget makes hardware forget what it has cached of the changes, and waits. Stale ones only are
	// in hardware.
	Forget(changes []Change) error
	// Present does what is due when entries became present.
	Present(m *Domain, first, last emu.IOVA) error
	// Rest does what interrupts have left to do for the end of an operation.
	Rest()
	// Recall has the unit interrupt, so that a handler calls Serve when the program has got on.
	Recall()

	// IDOf is the id under which translations of an entry of x, that an earlier system has left, are.
	IDOf(x *Inherited, raw []uint64) uint32
	// SameTables reports whether the entry of (x, pasid) translates with the tables of m.
	SameTables(x *Inherited, pasid emu.PASID, raw []uint64, m *Domain) bool
	// Block blocks devices of an earlier system, whole, and drops all that is cached of them.
	Block(sids []emu.SourceID) error
	// BlockRest blocks what else an earlier system has left that nobody has claimed: interrupts, entries that
	// are no device's.
	BlockRest() error

	// Answer gives the answer to a page request group to hardware.
	Answer(k GroupKey, r host.PageResponse) error
}

// Change is a range of a domain whose translations are not what they were.
type Change struct {
	Domain      *Domain
	First, Last emu.IOVA
	Leaves      bool // only leaves changed, no table
}

// Everything is the change of all of a domain.
func Everything(m *Domain) Change { return Change{Domain: m, Last: ^emu.IOVA(0)} }

// All reports whether the change is one of the whole space.
func (c *Change) All() bool { return c.First == 0 && c.Last == ^emu.IOVA(0) }
