package vtd

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Mode is the translation table mode.
type Mode uint8

// The modes.
const (
	ModeAuto     Mode = iota // scalable if the unit has it with second-stage translation
	ModeLegacy               // RTADDR.TTM 0
	ModeScalable             // RTADDR.TTM 1
)

// Options are what a driver is told besides its processor and memory. The zero value is good.
type Options struct {
	Unit int   // number of the unit at the processor's register access
	Mode Mode  // what to run in
	HAW  uint8 // host address width, which firmware tells (DMAR); 0 is 52
	// Timeout is how long hardware may take for one command, in cycles of the processor; 0 is 10^8.
	Timeout uint64
	// NoQueue uses the invalidation registers although there is a queue. Legacy mode, version below 6.
	NoQueue bool
	// LazyEntries is how many unmapped ranges a lazy domain collects before it flushes; 0 is 256.
	LazyEntries int
	// LazyCycles is how old the first of them may become; 0 is 3*10^7 (10 ms at 3 GHz).
	LazyCycles uint64
	// IRQ turns interrupt remapping on, before translation. Without it New turns it off if an earlier
	// system left it on.
	IRQ bool
	// IRQEntries is the size of the interrupt table: a power of two from 2 to 65536; 0 is 65536.
	IRQEntries int
	// XAPIC keeps interrupt destinations to 8 bits although the unit has 32-bit ones (ECAP.EIM).
	XAPIC bool
	// Retries is how often a device-TLB invalidation that timed out is given again; 0 is 3.
	Retries int
	// Owner marks the pages of the driver in host.Frames; those of a domain's tables are marked
	// Owner plus the domain's id. 0 is (Unit+1)<<24.
	Owner uint32
	// TakeOver goes on from the tables of an earlier system if translation is on: devices stay at work,
	// and a domain of the same tables and id attached to one changes nothing. No page that the
	// earlier system uses may be free in the allocator. See Driver.Finish.
	TakeOver bool
	// Omit leaves out invalidations once the unit is up. Fault injection.
	Omit entry.Omit
}

func (o *Options) setDefaults() {
	driver.SetDefault(&o.HAW, 52)
	driver.SetDefault(&o.Retries, 3)
	driver.SetDefault(&o.IRQEntries, spec.MaxIRTEs)
}

// settings are those for the part that all drivers have in common.
func (o *Options) settings() driver.Settings {
	return driver.Settings{
		Name: "vtd", Unit: o.Unit, Timeout: o.Timeout, LazyEntries: o.LazyEntries, LazyCycles: o.LazyCycles, Owner: o.Owner,
	}
}

// What New returns of package driver.
var (
	ErrNoUnit   = driver.ErrNoUnit   // there is nothing at the registers
	ErrTakeOver = driver.ErrTakeOver // Options.TakeOver, but the tables in force do not allow it
)

// ErrDescriptor is what a QueueError wraps.
var ErrDescriptor = errors.New("invalidation descriptor refused")

// ErrRejected: the invalidation registers reported granularity 0.
var ErrRejected = errors.New("invalidation rejected")

// QueueError is a descriptor that hardware stopped at (FSTS.IQE). The driver has replaced it, so that
// the queue runs again; its invalidation has not been done.
type QueueError struct {
	Index int       // of the descriptor within its submission
	IQEI  uint8     // IQERCD.IQEI, 0 if the unit has none
	Desc  [2]uint64 // the descriptor
}

// Error names the descriptor.
func (e *QueueError) Error() string {
	return fmt.Sprintf("vtd: descriptor %d %#x %#x: IQEI %d: %v", e.Index, e.Desc[0], e.Desc[1], e.IQEI, ErrDescriptor)
}

// Unwrap returns ErrDescriptor.
func (e *QueueError) Unwrap() error { return ErrDescriptor }

// Stats counts what the driver did since New.
type Stats struct {
	driver.Stats
	Descriptors   uint64 // written to the queue, waits and fences included
	WriteBuffer   uint64 // write-buffer flushes
	QueueErrors   uint64 // descriptors that hardware refused
	DeviceRetries uint64 // submissions repeated after a device-TLB time-out
}
