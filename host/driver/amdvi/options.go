package amdvi

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Options are what a driver is told besides its processor and memory. The zero value is good.
type Options struct {
	Unit int   // number of the unit at the processor's register access
	HAW  uint8 // physical address width, which firmware tells (IVRS); 0 is 52
	// LastDevice is the highest DeviceID that firmware tells (IVRS), and the end of the device table; 0 is
	// ffffh.
	LastDevice emu.SourceID
	// Segments is log2 of the device table segments to use, as far as the unit has them.
	Segments uint8
	// NoATS: the unit's PCI capability lacks IotlbSup.
	NoATS bool
	// NpCache: its capability has NpCache, so that absence may be cached.
	NpCache bool
	// Firmware is what firmware tells of single devices (IVRS).
	Firmware map[emu.SourceID]Firmware
	// Timeout is how long hardware may take for one command, in cycles of the processor; 0 is 10^8.
	Timeout uint64
	// LazyEntries is how many unmapped ranges a lazy domain collects before it flushes; 0 is 256.
	LazyEntries int
	// LazyCycles is how old the first of them may become; 0 is 3*10^7 (10 ms at 3 GHz).
	LazyCycles uint64
	// Retries is how often a device IOTLB invalidation that timed out is given again; 0 is 3.
	Retries int
	// Owner marks the pages of the driver in host.Frames; those of a domain's tables are marked
	// Owner plus the domain's id. 0 is (Unit+1)<<24.
	Owner uint32
	// IRQ turns interrupt remapping on. Without it interrupts pass as they are.
	IRQ bool
	// IRQEntries is the size of the interrupt tables, one for each device: a power of two from 2 to 512, or to
	// 2048 where the unit has as many (EFR2.NumIntRemapSup); 0 is 512.
	IRQEntries int
	// GuestAPIC sets up the guest virtual APIC, for PostIRQ.
	GuestAPIC bool
	// XAPIC keeps interrupt destinations to 8 bits although the unit has 32-bit ones (EFR.XTSup).
	XAPIC bool
	// TakeOver goes on from the device table of an earlier system if IommuEn is set: devices stay at work, and a
	// domain of the same tables and id attached to one changes nothing. No page that the earlier system
	// uses may be free in the allocator. See Driver.Finish.
	TakeOver bool
	// Omit leaves out invalidations once the unit is up. Fault injection.
	Omit entry.Omit
}

// Firmware is what firmware tells of a device: fields of its entry that no domain changes, and the further
// requester ids that its requests may have.
type Firmware struct {
	Aliases                                           []emu.SourceID
	InitPass, EIntPass, NMIPass, Lint0Pass, Lint1Pass bool
	SysMgt                                            uint8 // DTE.SysMgt
}

func (o *Options) setDefaults() {
	driver.SetDefault(&o.HAW, 52)
	driver.SetDefault(&o.LastDevice, maxDevice)
	driver.SetDefault(&o.Retries, 3)
	driver.SetDefault(&o.IRQEntries, 512)
}

// maxDevice is the highest DeviceID that there can be.
const maxDevice = 0xffff

func (o *Options) settings() driver.Settings {
	return driver.Settings{
		Name: "amdvi", Unit: o.Unit, Timeout: o.Timeout, LazyEntries: o.LazyEntries, LazyCycles: o.LazyCycles, Owner: o.Owner,
	}
}

// What New returns of package driver.
var (
	ErrNoUnit   = driver.ErrNoUnit   // there is nothing at the registers
	ErrTakeOver = driver.ErrTakeOver // Options.TakeOver, but what is in force does not allow it
)

// ErrCommand is what a CommandError wraps.
var ErrCommand = errors.New("command refused")

// CommandError is a command that hardware stopped at (ILLEGAL_COMMAND_ERROR, COMMAND_HARDWARE_ERROR). An illegal
// one has been replaced, so that the buffer runs again; what it asked for has not been done.
type CommandError struct {
	Index   int       // of the command within its submission, -1 if it is none of it
	Event   uint8     // code of the event; 0 if the log has lost it
	Command [2]uint64 // the command
}

// Error names the command.
func (e *CommandError) Error() string {
	return fmt.Sprintf("amdvi: command %d %#x %#x: event %d: %v", e.Index, e.Command[0], e.Command[1], e.Event, ErrCommand)
}

// Unwrap returns ErrCommand.
func (e *CommandError) Unwrap() error { return ErrCommand }

// Stats counts what the driver did since New.
type Stats struct {
	driver.Stats
	Commands      uint64 // written to the buffer, waits included
	CommandErrors uint64 // commands that hardware refused
	DeviceRetries uint64 // submissions repeated after a device IOTLB time-out
	Events        uint64 // of the log, those of requests among them (Faults)
	LostGuestIRQs uint64 // times that the guest APIC log has overflowed
}
