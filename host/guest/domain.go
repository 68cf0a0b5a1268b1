package guest

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// Spec describes a guest's domain. The zero value has tables of four levels right below the host's entry, with flags
// set beforehand.
type Spec struct {
	// Kind is what the tables look like; nil is those of processors with 4 or 5 levels.
	Kind Kind
	// Levels, without Kind: 4, or 5 where the unit has them. 0 is 4.
	Levels uint8
	// Large, without Kind, allows leaves of 1 GiB, where the unit has them.
	Large bool
	// Dirty leaves accessed and dirty flags to hardware; otherwise they are set beforehand.
	Dirty bool
	// Absence: what is not present may be cached as such, so that Map invalidates too.
	Absence bool
	// ID asks for this domain id on the host; 0 takes any free one.
	ID uint32
}

// Kind is an architecture's first stage as a guest has it.
type Kind interface {
	// Format is what entries look like whose addresses have haw bits; dirty: hardware keeps the flags.
	Format(haw uint8, dirty bool) pagetable.Format
	// Config is the shape of the tables.
	Config() pagetable.Config
	// Place makes what the host's entry points to, in memory of the guest, and puts it into s.
	Place(cpu *CPU, pages *host.OwnedFrames, t *pagetable.Table, s *host.DomainSpec) error
}

// Domain is a guest's domain: first-stage tables in the guest's memory, on top of the parent. It
// implements host.Domain with addresses of the guest as physical addresses; a driver attaches the
// nested domain behind it. One guest uses it.
type Domain struct {
	host.Domain // the nested domain
	cpu         *CPU
	spec        Spec
	behind      host.DomainSpec // of any nested domain of the tables, but for parent and id
	table       *pagetable.Table
	pages       *host.OwnedFrames
	gather      pagetable.Gather
	dirty       bool
}

var _ host.Wrapper = (*Domain)(nil)

// New makes empty tables out of frames, which allocates memory of the guest by way of cpu, and a nested
// domain for them.
//
// Errors: what driver.NewDomain returns, pagetable.ErrGeometry, pagetable.ErrNoMemory.
func New(driver host.Driver, cpu *CPU, frames *host.Frames, s Spec) (*Domain, error) {
	if s.Levels == 0 {
		s.Levels = 4
	}
	if s.Kind == nil {
		s.Kind = below(&s)
	}
	d := &Domain{cpu: cpu, spec: s, dirty: s.Dirty, pages: frames.For(0)}
	tables := cpu.Parent().Tables()
	if tables == nil {
		return nil, fmt.Errorf("guest: parent of kind %v has no tables: %w", cpu.Parent().Kind(), host.ErrUnsupported)
	}
	var err error
	d.table, err = pagetable.New(d.format(), cpu, d.pages, s.Kind.Config())
	if err != nil {
		return nil, err
	}
	d.behind.Kind = host.DomainNested
	if err = s.Kind.Place(cpu, d.pages, d.table, &d.behind); err == nil {
		behind := d.Over(cpu.Parent())
		behind.ID = s.ID
		d.Domain, err = driver.NewDomain(behind)
	}
	if err != nil {
		d.pages.FreeAll()
		return nil, err
	}
	return d, nil
}

// format is what entries look like: their addresses are the parent's.
func (d *Domain) format() pagetable.Format {
	return d.spec.Kind.Format(uint8(bits.Len64(uint64(d.cpu.Parent().Tables().Info().Last))), d.dirty)
}

// Over is what a driver is to be told for a nested domain of the same tables over a parent. See Rebase.
func (d *Domain) Over(parent host.Domain) host.DomainSpec {
	s := d.behind
	s.Parent = parent
	return s
}

// Behind returns the nested domain.
func (d *Domain) Behind() host.Domain { return d.Domain }

// Tables returns the first-stage table; it is in the guest's memory.
func (d *Domain) Tables() *pagetable.Table { return d.table }

// Map maps n bytes at iova to gpa, an address of the guest.
//
// Errors: those of pagetable.Table.Map, host.ErrTimeout.
func (d *Domain) Map(iova emu.IOVA, gpa emu.PA, n uint64, perm emu.Access) error {
	var p pagetable.Perm
	if perm&emu.Read != 0 {
		p |= pagetable.Read
	}
	if perm&emu.Write != 0 {
		p |= pagetable.Write
	}
	done, err := d.table.Map(iova, gpa, n, p, &d.gather)
	if err != nil && done > 0 {
		if _, uerr := d.table.Unmap(iova, done, &d.gather); uerr != nil {
			err = fmt.Errorf("%w; undoing it: %w", err, uerr)
		}
	}
	if ferr := d.flush(); ferr != nil {
		if err == nil {
			return ferr
		}
		return fmt.Errorf("%w; %w", err, ferr)
	}
	d.cpu.Fence() // who is told of the mapping finds it
	if err == nil && d.spec.Absence {
		err = d.Invalidate(iova, n, true)
	}
	return err
}

// Unmap removes what is mapped from iova on. When it returns no device can reach the pages by these
// addresses.
//
// Errors: as Map.
func (d *Domain) Unmap(iova emu.IOVA, n uint64) (uint64, error) {
	done, err := d.table.Unmap(iova, n, &d.gather)
	if ferr := d.flush(); ferr != nil {
		if err == nil {
			return done, ferr
		}
		return done, fmt.Errorf("%w; %w", err, ferr)
	}
	return done, err
}

// flush asks for the invalidation of what changed, and frees the table pages that went with it.
func (d *Domain) flush() error {
	if first, last, ok := d.gather.Range(); ok {
		// The number of bytes of the whole space does not fit; one page less names as much.
		n := max(uint64(last-first), uint64(last-first)+1)
		if err := d.Invalidate(first, n, !d.gather.LeafOnly()); err != nil {
			return err
		}
	}
	d.gather.Release()
	return nil
}

// Lookup walks both stages as hardware would: what it finds is an address of the host, in the
// smaller of the two leaves, with the rights that both grant.
func (d *Domain) Lookup(iova emu.IOVA) (pagetable.Translation, bool) {
	a, ok := d.table.Lookup(iova)
	if !ok {
		return a, false
	}
	b, ok := d.cpu.Parent().Lookup(emu.IOVA(a.PA))
	a.PA, a.Lg2, a.Perm = b.PA, min(a.Lg2, b.Lg2), a.Perm&b.Perm
	return a, ok
}

// SetDirty leaves the flags to hardware or sets them beforehand.
//
// Errors: host.ErrTimeout, pagetable.ErrCorrupt.
func (d *Domain) SetDirty(on bool) error {
	fresh := on && !d.dirty
	d.dirty = on
	root, _ := d.table.Root()
	var err error
	if d.table, err = pagetable.Open(d.format(), d.cpu, d.pages, root, d.spec.Kind.Config()); err != nil {
		return err
	}
	if fresh {
		if err := d.table.ReadAndClearDirty(0, d.table.Info().Last, 0, nil, func(emu.IOVA, emu.IOVA) {}); err != nil {
			return err
		}
	}
	return d.Flush()
}

// ReadDirty reports the dirty leaves of a range of the guest's own tables. See host.Domain; the
// parent keeps flags of its own.
func (d *Domain) ReadDirty(iova emu.IOVA, n uint64, clear bool, visit func(first, last emu.IOVA)) error {
	if !d.dirty {
		return fmt.Errorf("guest: domain %d: %w", d.ID(), host.ErrNotTracking)
	}
	if n == 0 || iova+emu.IOVA(n-1) < iova {
		return fmt.Errorf("guest: dirty flags of %#x bytes at %#x: %w", n, uint64(iova), pagetable.ErrLength)
	}
	flags := pagetable.NoClear
	if clear {
		flags = 0
	}
	if err := d.table.ReadAndClearDirty(iova, iova+emu.IOVA(n-1), flags, &d.gather, visit); err != nil {
		return err
	}
	return d.flush()
}

// Free gives back the nested domain, then the tables.
//
// Errors: host.ErrBusy while attached, host.ErrTimeout.
func (d *Domain) Free() error {
	if err := d.Domain.Free(); err != nil {
		return err
	}
	d.pages.FreeAll()
	return nil
}

// Rebase goes on over another parent, which maps the guest's memory as the one before did where its
// tables lie, with the nested domain that a driver has made of the same tables over it: what a monitor
// does that replaces the second stage under a running guest. The guest does not notice. The nested
// domain before is the caller's to free.
func (d *Domain) Rebase(nested, parent host.Domain) {
	d.Domain = nested
	d.cpu.parent = parent
	d.cpu.Forget()
}
