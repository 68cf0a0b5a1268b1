package smmuv3

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// Move is how the hitless writer moves requests without SubstreamID from one stage 1 domain to
// another. Those with one always go by MoveASID: the other CDs of the table stay where they are.
type Move uint8

// The ways.
const (
	// MoveTable builds a CD table beside the present one and swaps the STE's pointer by one store. A device
	// that was probed with PASIDs goes by MoveASID instead.
	MoveTable Move = iota
	// MoveASID rewrites the CD in place, by a temporary ASID.
	MoveASID
)

// Options are what a driver is told besides its processor and memory. The zero value is good.
type Options struct {
	Unit int // number of the unit at the processor's register access
	// Timeout, LazyEntries, LazyCycles and Owner are those of driver.Settings.
	Timeout     uint64
	LazyEntries int
	LazyCycles  uint64
	Owner       uint32
	// StreamBits is how many bits of StreamIDs the stream table is for; 0 is IDR1.SIDSIZE, but no more
	// than the 16 of requester ids.
	StreamBits uint8
	// Linear makes the stream table a linear one although it could have two levels. Tables of up to 8 bits
	// are linear in any case.
	Linear bool
	// Granule is the log2 size of the pages of translation tables: 12, 14 or 16; 0 is the smallest that
	// there is.
	Granule uint8
	// CDFormat is the kind of the CD tables of devices with more than 64 PASIDs: spec.S1Fmt4K, S1Fmt64K
	// or S1FmtLinear+3 for a linear one; 0 is two-level with 4 KiB leaves where there is such.
	CDFormat uint8
	// Move is how a stage 1 domain is replaced by another.
	Move Move
	// PollCons waits for CMDQ_CONS to pass a CMD_SYNC, although the unit could signal it by a message
	// (IDR0.MSI).
	PollCons bool
	// Wires takes interrupts from the unit's lines, if the processor has them (host.Wired), although the unit
	// could send messages. Without messages they are taken from there in any case.
	Wires bool
	// Combined: the lines of the unit are one to the processor, so that any interrupt may mean all of them.
	Combined bool
	// NoRange invalidates page by page, although the unit has range invalidation (IDR3.RIL).
	NoRange bool
	// Wide: the unit reads 16 bytes of an STE or CD at once, and the processor stores them so.
	Wide bool
	// Retries is how often ATS invalidations that timed out are given again; 0 is 3.
	Retries int
	// TakeOver goes on from the stream table of an earlier system if the unit is on: devices stay at work,
	// and a domain of the same tables and id attached to one changes nothing. No page that the earlier
	// system uses may be free in the allocator. See Driver.Finish.
	TakeOver bool
	// Omit leaves out invalidations once the unit is up. Fault injection.
	Omit entry.Omit
}

// LinearCDs is the value of Options.CDFormat for linear CD tables of any size.
const LinearCDs = 3

// settings is what the common part of the driver is told.
func (o *Options) settings() driver.Settings {
	return driver.Settings{
		Name: "smmuv3", Unit: o.Unit, Timeout: o.Timeout, LazyEntries: o.LazyEntries, LazyCycles: o.LazyCycles, Owner: o.Owner,
	}
}

// ErrCommand is what a CommandError wraps.
var ErrCommand = errors.New("command refused")

// CommandError is a command that the unit stopped at (CERROR_ILL, or CERROR_ABT time and again). The
// driver has replaced it, so that the queue runs again; what it asks for has not been done.
type CommandError struct {
	Index   int // of the command within its submission
	Reason  uint8
	Command [2]uint64
}

// Error names the command.
func (e *CommandError) Error() string {
	name := "command"
	if l := spec.CmdLayouts[spec.CmdOpcode.Of(e.Command[0])]; l != nil {
		name = l.Name
	}
	return fmt.Sprintf("smmuv3: %s %#x %#x, number %d of its batch: CERROR %d: %v", name, e.Command[0], e.Command[1], e.Index, e.Reason, ErrCommand)
}

// Unwrap returns ErrCommand.
func (e *CommandError) Unwrap() error { return ErrCommand }

// Stats counts what the driver did since New.
type Stats struct {
	driver.Stats
	Commands      uint64 // written to the queue, SYNCs included
	CommandErrors uint64 // times that the command queue stopped
	DeviceRetries uint64 // submissions repeated after an ATS invalidation timed out
	Stalls        uint64 // transactions that the unit held
	Gerrors       uint64 // global errors acknowledged
}
