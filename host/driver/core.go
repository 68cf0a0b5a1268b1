package driver

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// Settings are what the common part of a driver is told.
type Settings struct {
	Name        string // of the driver, begins its errors
	Unit        int    // number of the unit at the processor's register access
	Timeout     uint64 // cycles of the processor that hardware may take for one command
	LazyEntries int    // unmapped ranges that a lazy domain collects before it flushes
	LazyCycles  uint64 // age that the first of them may reach
	Owner       uint32 // of the driver's pages; those of a domain's tables have Owner plus its id
}

// SetDefault sets p if it has its zero value.
func SetDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// SetDefaults fills in what is 0: 10^8 cycles, 256 ranges, 3*10^7 cycles (10 ms at 3 GHz), and (Unit+1)<<24
// as the owner.
func (s *Settings) SetDefaults() {
	SetDefault(&s.Timeout, 100_000_000)
	SetDefault(&s.LazyEntries, 256)
	SetDefault(&s.LazyCycles, 30_000_000)
	SetDefault(&s.Owner, uint32(s.Unit+1)<<24)
}

// Core is the common part as the architecture's code sees it.
type Core struct {
	Settings
	CPU      *Counter
	Frames   *host.Frames
	Pages    *host.OwnedFrames // of the driver's own structures
	Tables   *TableMemory
	Count    Stats
	IDs      IDs
	MoreIDs  []*IDs     // of other kinds, see Domain.From
	Omit     entry.Omit // in force
	Coherent bool       // hardware snoops when it reads the driver's own structures
	Devices  map[emu.SourceID]*Device
	Domains  map[uint32]*Domain // paging and nested ones by id
	Heritage *Heritage          // while a take-over lasts
	Groups   *Groups            // nil: no page requests
	OnFault  func(host.FaultRecord)

	arch    Arch
	lazy    []*Domain // with ranges that wait for a flush, the oldest first
	onPages func(host.PageGroup)
	busy    int
}

// Driver is the common part as everybody else sees it: all of host.Driver but Enable and Shutdown. An
// architecture's driver embeds it.
type Driver struct{ c *Core }

// New returns the common part of a driver. Core.Omit is for the time after bring-up.
func New(arch Arch, cpu host.CPU, frames *host.Frames, s Settings) (Driver, *Core) {
	s.SetDefaults()
	c := &Core{
		Settings: s, Frames: frames, Pages: frames.For(s.Owner), Coherent: true, arch: arch,
		Devices: make(map[emu.SourceID]*Device), Domains: make(map[uint32]*Domain),
	}
	c.CPU = &Counter{cpu, &c.Count}
	c.Tables = &TableMemory{c.CPU, true}
	return Driver{c}, c
}

// Enter begins a method that changes something. Interrupts come in the middle of it; whoever they tell
// must not call the driver before it has ended.
func (c *Core) Enter() *Core {
	c.busy++
	return c
}

// Leave ends the method: what interrupts have left is done, page requests that came meanwhile are handed on.
func (c *Core) Leave() {
	if c.busy == 1 {
		c.arch.Rest()
	}
	if c.busy--; c.busy == 0 {
		c.Serve()
	}
}

// Idle reports whether no method runs.
func (c *Core) Idle() bool { return c.busy == 0 }

// Alloc returns zeroed memory for a structure that hardware reads, 2^lg2 bytes.
//
// Errors: host.ErrNoFrames.
func (c *Core) Alloc(lg2 uint8) (emu.PA, error) {
	pa, err := c.Pages.Alloc(lg2)
	if err == nil {
		c.Flush(pa, 1<<max(lg2, emu.PageShift))
	}
	return pa, err
}

// Flush writes structures back for hardware that does not snoop.
func (c *Core) Flush(pa emu.PA, n int) {
	if !c.Coherent {
		c.CPU.Flush(pa, n)
	}
}

// OnFault sets who is told of each fault record. fn runs in the interrupt handler and must not call the
// driver.
func (d *Driver) OnFault(fn func(host.FaultRecord)) { d.c.OnFault = fn }

// SetOmit changes what Options.Omit set. Fault injection.
func (d *Driver) SetOmit(o entry.Omit) { d.c.Omit = o }
