package emu

import "fmt"

// Op is the kind of question a transaction asks of its executor.
type Op uint8

// The operations. Each comment gives the fields of Act that carry the question and, after the
// arrow, the answer in Txn.Ans and Txn.In.
const (
	OpNone       Op = iota
	OpFetch         // Addr, Size -> AnsOK with In, or AnsError
	OpStore         // Addr, Size, Data -> AnsOK or AnsError
	OpCAS           // Addr, Size (8, 16), Data[0:2] expected, Data[2:4] new -> AnsOK swapped, AnsMiss not, AnsError; In = value found
	OpAtomicOr      // Addr, Size 8, Data[0] bits -> AnsOK with In[0] the old value, or AnsError
	OpProbe         // Cache, Key -> AnsOK with In the value, or AnsMiss
	OpFill          // Cache, Key, Lg2, Attr, Data -> AnsOK; dropped if the transaction was marked; ends the miss status held for the cache
	OpInvalidate    // Sel: drop entries, mark other transactions in flight -> AnsOK
	OpDrain         // -> AnsOK when every transaction marked so far has finished; an Invalidate by the zero Selector marks all
	OpOrder         // -> AnsOK when every earlier posted write of the requester, messages included, has ended and is globally visible
	OpDelay         // Delay (what takes time), N (count) -> AnsOK
	OpAcquire       // Slot, Key -> AnsOK owner, or after owners that filled nothing; AnsMerged the owner filled, In is the value; AnsRetry there was no register
	OpRelease       // Slot -> AnsOK
	OpPark          // -> AnsOK when the engine is woken again (engines only)
	OpSend          // Msg, Addr, Data -> AnsOK: the message is on its way
	OpDone          // the transaction has ended and holds no slot any more; Txn.Res is the outcome
	OpHold          // Key -> AnsOK with In what an OpResume that matches it says; until then nothing concerns it, and its slots are given back (translations only)
	OpResume        // Sel, Data -> AnsOK: every held transaction whose Key matches Sel goes on with Data
	OpOverlap       // Cache, Key, Lg2 -> AnsOK an entry larger than 2^Lg2 covers the key too (of paging structures, one of a region that is no larger), or AnsMiss; In stays. It costs nothing: the look-up before has seen it
)

// Answer qualifies what an executor put into Txn.In.
type Answer uint8

// The answers.
const (
	AnsOK     Answer = iota
	AnsMiss          // Probe: not present; CAS: not swapped
	AnsError         // the memory access failed on the bus
	AnsMerged        // Acquire: the owner of the key released a value, now in In
	AnsRetry         // Acquire: there was no register and now may be one; look again
)

// DelayClass names what an OpDelay waits for; the timing preset gives the cycles.
type DelayClass uint8

// Delay classes.
const (
	DelayCommand DelayClass = iota // a control-register command takes effect
	DelayQueue                     // a queue engine decodes one entry
	DelayFault                     // a fault record is written
	DelayStep                      // one step of internal logic
)

// SlotClass names a limited resource.
type SlotClass uint8

// Slot classes. Miss status registers merge: a transaction that acquires a key which another one
// owns waits for that owner and receives what it fills (a Fill to the class's cache ends the
// status and hands its Data on). The owner that was marked by an invalidation takes no new
// company: who comes after becomes an owner itself. A transaction waits for a miss status only
// while it holds no walker, so no cycle of waits can form.
const (
	SlotEntry  SlotClass = iota // miss status of a device-entry fetch (CacheEntry), merged by key
	SlotPASID                   // miss status of a PASID-entry fetch (CachePASID), merged by key
	SlotMiss                    // miss status of a page walk (CacheIOTLB), merged by key
	SlotWalker                  // a table walker, for entries and pages alike; counted, never merged
	SlotLog                     // the writer of a log in memory (page requests, events); one, first come first served
	NumSlotClasses
)

// MsgClass names what an OpSend carries.
type MsgClass uint8

// Message classes.
const (
	MsgMSI         MsgClass = iota // posted write of Data[0] (4 bytes) to Addr, behind earlier posted writes
	MsgATSInv                      // ATS invalidation request: Key.Addr requester, Key.Tag its PASID, N the ITag, Data[0] message body (PCIe 10.3.1: address 63:12, S 11, G 0); its end comes by ATSUnit.ATSEnded
	MsgATSReply                    // translation completion to the device
	MsgWire                        // a pulse of an interrupt line of the unit: N the line
	MsgPRGResponse                 // page-request group response: Key.Addr requester, Key.Tag its PASID, Data[0] group index 8:0, response code 15:12
)

// Step names a step of the specification. Values are a unit's own; Unit.Describe explains them.
type Step uint16

// StepInfo explains a Step to people: what is done and which clause says so.
type StepInfo struct {
	Name   string // short, as in the specification: "context entry", "leaf paging entry"
	Clause string // where it is written
}

// In returns what a table, with an element per step, says of s.
func (s Step) In(table []StepInfo) StepInfo {
	if int(s) >= len(table) {
		return StepInfo{Name: fmt.Sprintf("step %d", s)}
	}
	return table[s]
}

// Act is the question a transaction asks. It holds up to 32 bytes in place.
type Act struct {
	Op     Op
	Size   uint8      // bytes moved: 4, 8, 16 or 32
	Cache  CacheID    // Probe, Fill
	Lg2    uint8      // Fill: log2 bytes the value covers
	Slot   SlotClass  // Acquire, Release
	Delay  DelayClass // Delay
	Msg    MsgClass   // Send
	Follow bool       // Fetch: a further part of the structure whose first part was just read
	Step   Step
	N      uint32 // Delay: how often the class's latency is paid; Send of MsgATSInv: the ITag, of MsgWire: the line
	Attr   uint32 // Fill: the domain that owns the entry, for caches keyed by source; else its kind
	Addr   PA
	Key    Key
	Data   [4]uint64
	Sel    Selector // Invalidate
}
