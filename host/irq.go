package host

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
)

// Message is an interrupt message: a 4-byte write of Data to Addr. CPU.OnIRQ returns the one that
// invokes a handler.
type Message struct {
	Addr emu.PA
	Data uint32
}

// What an IRQRemapper fails with besides ErrUnsupported and ErrTimeout.
var (
	ErrNoIRQ = errors.New("out of interrupt entries") // no free block is large enough
	ErrIRQ   = errors.New("no such interrupt")        // unmapped, or another remapper's
)

// IRQ names a block of remapped interrupts. Values are a remapper's own.
type IRQ uint32

// MaxIRQs is the largest number of interrupts in a block: that of MSI (PCIe 7.7.1).
const MaxIRQs = 32

// IRQRemapper remaps interrupts. A device sends a message that names an entry of a table; the unit
// sends on what the entry says, if the device is the one it is for, and blocks the message otherwise.
// Methods are called by one processor at a time, as those of Driver.
type IRQRemapper interface {
	// MapIRQ takes a block of entries for interrupts of sid that are to arrive as the messages to. Their
	// number is a power of two up to MaxIRQs. It returns the block and the message that the device has
	// to send for the first of them; for interrupt i of the block it adds i to Data, as MSI does.
	//
	// Errors: ErrUnsupported (interrupt remapping is off; a message that no entry can stand for; a
	// number of messages that no block has), ErrNoIRQ, ErrDevice (no requester id), ErrTimeout.
	MapIRQ(sid emu.SourceID, to ...Message) (IRQ, Message, error)
	// MoveIRQ makes interrupt i of a block arrive as another message, while the device sends it. Every
	// interrupt arrives, as one or the other; once MoveIRQ has returned, none as the old one.
	//
	// Errors: ErrIRQ, ErrUnsupported, ErrTimeout.
	MoveIRQ(q IRQ, i int, to Message) error
	// UnmapIRQ blocks the interrupts of a block and gives its entries back. After an error it can be
	// called again.
	//
	// Errors: ErrIRQ, ErrTimeout.
	UnmapIRQ(q IRQ) error
}
