package host

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

// What drivers fail with, whatever the architecture. The text around it names the place.
var (
	ErrUnsupported = errors.New("not supported by this IOMMU")           // the unit lacks a capability
	ErrBusy        = errors.New("in use")                                // attached already, or still attached
	ErrNotAttached = errors.New("no domain attached")                    // there is nothing to detach or replace
	ErrForeign     = errors.New("domain of another driver")              // or one that was freed
	ErrPASID       = errors.New("PASID out of range")                    // for the device, or reserved
	ErrDevice      = errors.New("device unknown or known")               // probed twice, or released without
	ErrNoID        = errors.New("out of domain ids")                     // all in use, or waiting for a flush
	ErrTimeout     = errors.New("hardware did not answer")               // a poll ran into its limit
	ErrDeviceTLB   = errors.New("device did not answer an invalidation") // of its TLB, time and again
	ErrNotTracking = errors.New("dirty tracking is off")                 // nobody keeps the flags that are asked for
)

// DomainKind is what a domain does with an address.
type DomainKind uint8

// The kinds.
const (
	DomainPaging   DomainKind = iota // translates through tables that Map and Unmap change
	DomainIdentity                   // passes addresses through
	DomainBlocked                    // lets nothing pass
	DomainNested                     // first-stage tables that somebody else owns, over a parent's second stage
)

// Stage says which stage of translation the tables of a paging domain are for.
type Stage uint8

// The stages.
const (
	StageAny    Stage = iota // second stage where the unit has it, first stage otherwise
	StageFirst               // tables of the processor's kind; translations are tagged with the PASID too
	StageSecond              // can be the parent of nested domains
)

// String returns the kind in one word.
func (k DomainKind) String() string { return [4]string{"paging", "identity", "blocked", "nested"}[k&3] }

// FlushMode says when an unmapped range leaves the IOTLB.
type FlushMode uint8

// The modes.
const (
	FlushStrict FlushMode = iota // before Unmap returns
	FlushLazy                    // later, many at once: until then a device may still reach the pages
)

// DomainSpec describes a domain to be made. The zero value is a paging domain of the unit's full width
// with strict invalidation.
type DomainSpec struct {
	Kind  DomainKind
	Flush FlushMode
	// Width is the number of address bits wanted; 0 is as many as the unit has.
	Width uint8
	// Snoop makes all accesses snoop the processor's caches, whatever the device asks for.
	Snoop bool
	// Stage says what kind of tables a paging domain has.
	Stage Stage
	// Dirty makes hardware keep accessed and dirty flags in the tables of a paging domain, where it
	// does not do so anyway.
	Dirty bool
	// Parent is what a nested domain's tables are translated by: a paging domain of the second stage.
	// Root, and all addresses in the tables, are input addresses of the parent.
	Parent Domain
	// ID asks for this domain id, one that an earlier system left in place; 0 takes any free one.
	ID uint32
	// Root adopts a table that exists in memory instead of making one; with Levels levels, 0 for
	// what Width gives.
	Root   emu.PA
	Levels uint8
	// Guest is what a guest's own entry says of a nested domain, where that is more than Root and Levels
	// tell: words of the entry in the architecture's format.
	Guest []uint64
	// Released, if set, is told of each unmapped range once nothing can reach it any more.
	Released func(iova emu.IOVA, n uint64)
}

// Domain is a translation that devices can be attached to.
type Domain interface {
	// ID is the tag of the domain's entries in the caches of hardware; 0 for a domain that has none.
	ID() uint32
	// Kind is what the domain does.
	Kind() DomainKind
	// Map maps n bytes at iova to pa. On an error nothing is mapped.
	//
	// Errors: those of pagetable.Table.Map, ErrUnsupported for a domain without tables, ErrTimeout.
	Map(iova emu.IOVA, pa emu.PA, n uint64, perm emu.Access) error
	// Unmap removes what is mapped from iova on, up to the first hole, and returns how many bytes that
	// was. With FlushStrict no device can reach the pages when it returns.
	//
	// Errors: as Map.
	Unmap(iova emu.IOVA, n uint64) (uint64, error)
	// Lookup walks the tables as hardware would.
	Lookup(iova emu.IOVA) (pagetable.Translation, bool)
	// Tables returns the tables, or nil for a domain without.
	Tables() *pagetable.Table
	// Flush makes hardware forget all translations of the domain.
	Flush() error
	// Invalidate makes hardware forget the translations of [iova, iova+n), for tables that others
	// change, such as a guest those of its nested domain. Tables says that table pages were removed too,
	// not only leaves.
	//
	// Errors: ErrTimeout.
	Invalidate(iova emu.IOVA, n uint64, tables bool) error
	// SetDirty turns dirty tracking on or off, whether or not devices are attached: hardware keeps
	// dirty flags in the tables. It begins with none set.
	//
	// Errors: ErrUnsupported, ErrTimeout; after ErrTimeout some devices may be tracked and others not.
	SetDirty(on bool) error
	// ReadDirty calls visit for each dirty leaf that touches [iova, iova+n), in ascending order and as
	// a whole. With clear they are clean afterwards; when it returns, all that was written so far
	// is in what was visited or will be in what the next call visits.
	//
	// Errors: ErrUnsupported (no tables), ErrNotTracking, ErrTimeout, pagetable.ErrLength,
	// pagetable.ErrCorrupt.
	ReadDirty(iova emu.IOVA, n uint64, clear bool, visit func(first, last emu.IOVA)) error
	// Free gives back tables and id.
	//
	// Errors: ErrBusy while attached, ErrTimeout.
	Free() error
}

// Wrapper is a domain in front of another: a driver attaches the one behind.
type Wrapper interface {
	Domain
	// Behind returns that one.
	Behind() Domain
}

// Underlying returns the domain that a driver made, behind all that stands in front of it.
func Underlying(d Domain) Domain {
	for {
		w, ok := d.(Wrapper)
		if !ok {
			return d
		}
		d = w.Behind()
	}
}

// DeviceSpec describes a device to its driver.
type DeviceSpec struct {
	// PASIDs is the number of PASIDs that the device can send: 0 if it sends none.
	PASIDs uint32
	// ATS: the device translates ahead and holds translations of its own.
	ATS bool
	// PRI: the device requests pages.
	PRI bool
	// Stall: the device waits for transactions that a unit holds until pages are there. Who maps them is
	// asked as by PRI. Not for PCIe.
	Stall bool
}

// FaultRecord is a fault as the unit reported it.
type FaultRecord struct {
	Reason uint16 // the architecture's own number
	Source emu.SourceID
	PASID  emu.PASID // NoPASID if the request carried none
	Addr   emu.IOVA  // of the page
	Access emu.Access
	Type   emu.ReqType
	// Interrupt: an interrupt was blocked. Index is the entry of the interrupt table that it asked for,
	// if it came that far; PASID, Addr, Access and Type say nothing.
	Interrupt bool
	Index     uint16
}

// Driver drives one IOMMU. Pasid is emu.NoPASID for the device's own requests. A driver is used by one
// processor at a time, and its fault handler does not call it.
type Driver interface {
	// Probe makes a device known. Attach does it with the zero DeviceSpec if it was not done.
	//
	// Errors: ErrDevice.
	Probe(sid emu.SourceID, spec DeviceSpec) error
	// Release forgets a device that nothing is attached to, and blocks it.
	//
	// Errors: ErrDevice, ErrBusy, ErrTimeout.
	Release(sid emu.SourceID) error
	// NewDomain makes a domain.
	//
	// Errors: ErrUnsupported, ErrNoID, ErrBusy (the id asked for), pagetable.ErrNoMemory.
	NewDomain(DomainSpec) (Domain, error)
	// Attach gives (sid, pasid), which has no domain, the domain d.
	//
	// Errors: ErrBusy, ErrForeign, ErrPASID, ErrUnsupported, ErrNoFrames, ErrTimeout.
	Attach(sid emu.SourceID, pasid emu.PASID, d Domain) error
	// Detach blocks (sid, pasid).
	//
	// Errors: ErrNotAttached, ErrTimeout.
	Detach(sid emu.SourceID, pasid emu.PASID) error
	// Replace gives (sid, pasid) another domain while DMA runs, by a writer of package entry.
	//
	// Errors: ErrNotAttached, ErrForeign, ErrUnsupported, ErrTimeout; entry.ErrIllegal.
	Replace(sid emu.SourceID, pasid emu.PASID, d Domain, w entry.Writer) (entry.Report, error)
	// Attached returns the domain of (sid, pasid), or nil.
	Attached(sid emu.SourceID, pasid emu.PASID) Domain
	// EntryAt returns where the entry of (sid, pasid) lies and what it holds; nil if it does not exist
	// yet.
	EntryAt(sid emu.SourceID, pasid emu.PASID) (at emu.PA, raw []uint64)
	// FlushLazy flushes what lazy domains have unmapped so far.
	//
	// Errors: ErrTimeout.
	FlushLazy() error
	// LazyDue returns when FlushLazy is due by age, in cycles of the processor; false if nothing waits.
	LazyDue() (at uint64, waiting bool)
	// OnFault sets who is told of faults.
	OnFault(func(FaultRecord))
	// Enable turns translation on.
	//
	// Errors: ErrTimeout.
	Enable() error
	// Shutdown turns translation off and leaves the unit as a boot finds it. Its memory stays allocated.
	//
	// Errors: ErrTimeout.
	Shutdown() error
}
