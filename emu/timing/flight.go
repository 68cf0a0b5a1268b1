package timing

import "github.com/iommulab/iommulab/emu"

// flightState says what a flight is waiting for.
type flightState uint8

const (
	flightFree     flightState = iota
	flightArriving             // on its way to the tag read
	flightRunning              // its event resumes it with the answer to Txn.Act
	flightWaiting              // in a queue of a slot, or draining: another transaction resumes it
	flightParked               // an engine without work
	flightReturn               // the response is on its way to the requester
	flightHeld                 // software has to let it go on
)

// none marks the end of an index list.
const none = -1

// Flight is a transaction with what the executor knows about it. It is plain data of fixed size:
// the slab of flights is part of a checkpoint.
type Flight struct {
	Txn    emu.Txn
	Device uint32 // requester
	Tag    uint32 // the requester's name for the request
	State  flightState
	Engine bool
	Again  bool // engine: woken while running
	// Slots held: index of the miss status register per class, or none. SlotWalker and SlotLog have no
	// registers: 0 if one is held.
	Reg    [emu.NumSlotClasses]int16
	Next   int32  // list of waiting or free flights
	Ahead  int32  // Order: posted writes that have to end before it goes on
	Seq    uint64 // order of issue
	From   uint64 // Order: cycle from which it may go on; once answered: cycle at which its data is visible
	Epoch  uint64 // Txn.Marked: number of the invalidation that marked it first
	Issued uint64
	Read   uint64 // time of the tag read
	Stall  uint64 // cycles spent waiting for an invalidation
}

// Completion tells a requester how its request went.
type Completion struct {
	Tag     uint32
	Request *emu.Request
	Result  *emu.Result
	Issued  uint64 // cycles: the request left the device
	Read    uint64 // cycles: the caches were read first
	Done    uint64 // cycles: the response is back at the device
	Stall   uint64 // cycles spent waiting for an invalidation
}

// Client is a requester: a device attached to a machine. Its methods are called in time order.
type Client interface {
	// Complete delivers a response. c is valid during the call only.
	Complete(c *Completion)
	// Timer delivers a timer the client has set.
	Timer(arg uint32)
	// Save and Restore are the client's part of a checkpoint.
	Save(e *emu.Encoder)
	Restore(d *emu.Decoder) error
}
