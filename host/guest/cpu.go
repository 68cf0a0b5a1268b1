// Package guest is the inside of a virtual machine whose devices are assigned to it: memory as the
// guest sees it, and first-stage tables that the guest keeps in it.
//
//	ram := guest.NewCPU(cpu, parent)                      // parent maps the guest's memory
//	frames, err := host.NewFrames(ram, 0x10_0000, 1<<24)  // some of it, for tables
//	dom, err := guest.New(driver, ram, frames, guest.Spec{})
//	err = dom.Map(0x4000, 0x8000_0000, 4096, emu.RW)      // to an address of the guest
//	err = driver.Attach(sid, emu.NoPASID, dom)
//
// The guest changes its tables by stores to its own memory, and asks for the invalidations of
// its nested domain, which the driver carries out: what a virtual machine monitor does for it
// (IOMMU_HWPT_INVALIDATE).
package guest

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// CPU is a processor that runs a guest: its memory is the input addresses of a domain, the parent,
// that maps the guest's memory. Registers of the host's units are not there, they read as all ones.
//
// It remembers where the pages are that it has used, as a processor's own second-stage translation
// would: whoever changes the parent's mappings of them calls Forget.
type CPU struct {
	host.CPU
	parent host.Domain
	page   map[emu.PA]emu.PA // host page by guest page
	missed uint64
}

var _ host.CPU = (*CPU)(nil)

// NewCPU returns a processor that sees memory through parent.
func NewCPU(cpu host.CPU, parent host.Domain) *CPU {
	return &CPU{CPU: cpu, parent: parent, page: make(map[emu.PA]emu.PA)}
}

// Parent returns the domain that maps the guest's memory.
func (c *CPU) Parent() host.Domain { return c.parent }

// Forget forgets where pages are.
func (c *CPU) Forget() { clear(c.page) }

// Missed counts accesses to memory that the guest does not have. Such a load reads all ones, and a
// store gets lost.
func (c *CPU) Missed() uint64 { return c.missed }

// Translate returns where an address of the guest is.
func (c *CPU) Translate(gpa emu.PA) (pa emu.PA, ok bool) {
	const offset = emu.PageSize - 1
	page, ok := c.page[gpa&^offset]
	if !ok {
		tr, found := c.parent.Lookup(emu.IOVA(gpa &^ offset))
		if !found {
			c.missed++
			return 0, false
		}
		page = tr.PA
		c.page[gpa&^offset] = page
	}
	return page | gpa&offset, true
}

// Load64 reads 8 bytes.
func (c *CPU) Load64(gpa emu.PA) uint64 {
	if pa, ok := c.Translate(gpa); ok {
		return c.CPU.Load64(pa)
	}
	return ^uint64(0)
}

// Store64 writes 8 bytes.
func (c *CPU) Store64(gpa emu.PA, v uint64) {
	if pa, ok := c.Translate(gpa); ok {
		c.CPU.Store64(pa, v)
	}
}

// Store128 writes 16 aligned bytes.
func (c *CPU) Store128(gpa emu.PA, lo, hi uint64) {
	if pa, ok := c.Translate(gpa); ok {
		c.CPU.Store128(pa, lo, hi)
	}
}

// CAS64 replaces old by v and reports whether it did.
func (c *CPU) CAS64(gpa emu.PA, old, v uint64) bool {
	pa, ok := c.Translate(gpa)
	return ok && c.CPU.CAS64(pa, old, v)
}

// CAS128 replaces 16 aligned bytes if they equal old and reports whether it did.
func (c *CPU) CAS128(gpa emu.PA, old, v [2]uint64) bool {
	pa, ok := c.Translate(gpa)
	return ok && c.CPU.CAS128(pa, old, v)
}

// Zero clears n bytes.
func (c *CPU) Zero(gpa emu.PA, n int) { c.each(gpa, n, c.CPU.Zero) }

// Flush writes n bytes back to memory.
func (c *CPU) Flush(gpa emu.PA, n int) { c.each(gpa, n, c.CPU.Flush) }

// each does f for what a range has in each page.
func (c *CPU) each(gpa emu.PA, n int, f func(pa emu.PA, n int)) {
	for n > 0 {
		part := min(n, int(emu.PageSize-gpa%emu.PageSize))
		if pa, ok := c.Translate(gpa); ok {
			f(pa, part)
		}
		gpa += emu.PA(part)
		n -= part
	}
}

// ReadReg reads all ones: there is no unit.
func (c *CPU) ReadReg(int, uint32, uint8) uint64 { return ^uint64(0) }

// WriteReg does nothing.
func (c *CPU) WriteReg(int, uint32, uint8, uint64) {}
