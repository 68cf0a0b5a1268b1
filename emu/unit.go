package emu

// Engine numbers an internal engine of a unit (queue, fault events, commands, ...). Values are the
// unit's own, 0 to 7.
type Engine uint8

// Wake is a set of engines that have work: bit i for Engine i. An executor that receives it starts
// each idle engine as a Job request, and resumes each that is parked.
type Wake uint8

// Set returns the Wake with only e in it.
func (e Engine) Set() Wake { return 1 << e }

// ResetKind says how much a reset clears.
type ResetKind uint8

// The resets.
const (
	ResetCold ResetKind = iota // everything, sticky status included
	ResetWarm                  // sticky status registers survive
)

// Unit is one IOMMU. It is not safe for concurrent use; front ends that share one bring a lock.
type Unit interface {
	// ReadReg reads size bytes at off. Widths and offsets that the architecture does not allow are
	// behaviour (usually zero or all ones), not errors.
	ReadReg(off uint32, size uint8) uint64
	// WriteReg writes size bytes at off and says which engines that woke.
	WriteReg(off uint32, size uint8, v uint64) Wake
	// Lookup answers q if every cache it needs hits and nothing stands against it. On false r is
	// undefined, and no statistics and no replacement state have changed.
	Lookup(q *Request, r *Result) bool
	// Start prepares t for q, which may be &t.Req. The first question comes with the first Step.
	Start(t *Txn, q *Request)
	// Step consumes t.In and t.Ans and leaves the next question in t.Act.
	Step(t *Txn)
	// Cache returns the cache behind an id, or nil if this unit does not have it.
	Cache(id CacheID) Cache
	// Load takes over the registers of a snapshot, latched state included. For tools, never for
	// host code.
	Load(RegImage) error
	// Reset returns the unit to its state after a reset; caches are emptied.
	Reset(kind ResetKind)
	// Describe explains a step.
	Describe(Step) StepInfo
	// FaultName explains a fault code.
	FaultName(code uint16) string
	// Observe installs o, or removes it with nil. For tools, never for host code.
	Observe(o Observer)
	// Save appends the complete state, caches included, to e. Restore reads it back into a unit of
	// the same configuration.
	Save(e *Encoder)
	Restore(d *Decoder) error
}

// Clock is the time of an executor that has one.
type Clock interface {
	// Now returns the present cycle of the unit's clock.
	Now() uint64
}

// Clocked is a unit that measures time if it can. An executor with a clock gives it to the unit once,
// before anything else happens.
type Clocked interface {
	UseClock(c Clock)
}

// StructKind says which structure an Observer was shown.
type StructKind uint8

// The structures whose assembled value is observable.
const (
	StructDevice    StructKind = iota // the entry of a device (of its context, of the device table, of the stream table)
	StructPASID                       // the entry of a PASID (of the PASID table, a pointer to its tables, its context descriptor)
	StructInterrupt                   // the entry of an interrupt (of the remapping table)
)

// Observer is told what a unit assembled from memory, at the moment it starts to use it. It must
// not change anything.
type Observer interface {
	// Assembled reports the structure at address at that t has read in one or more fetches. words is
	// only valid during the call.
	Assembled(t *Txn, kind StructKind, at PA, words []uint64)
}

// Memory is the memory bus as executors use it. Accesses are naturally aligned and atomic in
// simulated time. Size is 4, 8, 16 or 32 bytes. A false return is a bus error.
type Memory interface {
	Load(pa PA, size uint8, v *[4]uint64) bool
	Store(pa PA, size uint8, v *[4]uint64) bool
	// CAS compares size (8 or 16) bytes with old and stores new if equal; found is what was there.
	CAS(pa PA, size uint8, old, new, found *[4]uint64) (swapped, ok bool)
	// Or sets bits in the 8 bytes at pa and returns what was there.
	Or(pa PA, bits uint64) (found uint64, ok bool)
}
