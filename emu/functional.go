package emu

// Functional drives one unit without time: a translation runs from its first to its last step
// before anything else happens, and a register write returns when the engines it woke are idle or
// parked. It is a library front end and the reference for the other executors. It is also a CPU
// (see functional_cpu.go), so host software runs on it unchanged.
type Functional struct {
	unit  Unit
	ats   ATSUnit // unit, if it is one
	mem   Memory
	cache [8]Cache // by CacheID, none missing
	txn   Txn      // the translation in progress

	fetched bool  // the transaction in progress has read memory
	walked  uint8 // translations in a row that did, as far as it matters

	engine [8]engineSlot
	held   []*heldTxn
	irq    []func()
	wires  []wire

	// Trace, if set, sees every question of every transaction after it was answered. For
	// explanation; nil costs one test per step.
	Trace func(t *Txn)
	// OnMSI, if set, receives interrupt messages that no handler of OnIRQ claims, from the unit and, as
	// they leave it, from devices.
	OnMSI func(addr PA, data uint32)
	// OnPulse, if set, sees the pulses of interrupt lines that no handler of OnWire is for.
	OnPulse func(line uint32)
	// OnATSInvalidate, if set, is asked for the answer of a device to an ATS invalidation; false is a
	// time-out. Unset means there is no such device: a time-out.
	OnATSInvalidate func(t *Txn) bool
	// OnPRGResponse, if set, receives page request group responses.
	OnPRGResponse func(t *Txn)
	// OnEnd, if set, is told how a request ended that Translate has left Pending. id is what its result
	// had in Data. r is valid during the call only.
	OnEnd func(id uint32, r *Result)
}

type engineState uint8

const (
	engineIdle engineState = iota
	engineRunning
	engineParked
)

type engineSlot struct {
	txn   Txn
	state engineState
	again bool // woken while running
}

// NewFunctional returns an executor for u on memory m.
func NewFunctional(u Unit, m Memory) *Functional {
	f := &Functional{unit: u, mem: m}
	f.ats, _ = u.(ATSUnit)
	for i := range f.cache {
		f.cache[i] = absent{}
	}
	for i := range NumCaches {
		if c := u.Cache(i); c != nil {
			f.cache[i] = c
		}
	}
	return f
}

// absent is the cache that a unit lacks: it holds nothing.
type absent struct{}

func (absent) Probe(*Key, *[4]uint64) bool          { return false }
func (absent) Fill(*Key, uint8, uint32, *[4]uint64) {}
func (absent) Invalidate(*Selector)                 {}
func (absent) Reset()                               {}
func (absent) Stats() CacheStats                    { return CacheStats{} }

// Unit returns the unit that is driven.
func (f *Functional) Unit() Unit { return f.unit }

// Translate answers q in r. If q is an interrupt message that the unit lets pass, the message is
// delivered before it returns. It allocates nothing.
func (f *Functional) Translate(q *Request, r *Result) {
	if f.walked < walksInRow && f.Trace == nil && f.unit.Lookup(q, r) {
		return
	}
	t := &f.txn
	f.unit.Start(t, q)
	t.Solo = f.Trace == nil
	f.fetched = false
	f.run(t)
	if t.Act.Op == OpHold {
		f.hold(r)
		return
	}
	if !f.fetched {
		f.walked = 0
	} else if f.walked < walksInRow {
		f.walked++
	}
	r.copy(&t.Res)
	if t.Wake != 0 {
		f.Wake(t.Wake)
	}
	if r.Status == Interrupt {
		f.deliver(r.PA, r.Data)
	}
}

// walksInRow is how many translations in a row must have read memory before Translate stops trying
// Lookup first. Step does all that Lookup does, with the same statistics, so this only saves time:
// to find out twice that nothing is cached.
const walksInRow = 4

// copy is *r = *s. It moves field by field what was stored field by field: a wider load would have
// to wait until the stores have left the processor's store buffer.
func (r *Result) copy(s *Result) {
	r.PA, r.Data, r.Status, r.Lg2, r.Perm, r.Touched, r.Snoop, r.Attr = s.PA, s.Data, s.Status, s.Lg2, s.Perm, s.Touched, s.Snoop, s.Attr
	r.Prov.Entry, r.Prov.Fill, r.Prov.Leaf, r.Prov.Leaf2 = s.Prov.Entry, s.Prov.Fill, s.Prov.Leaf, s.Prov.Leaf2
	r.Fault = s.Fault
}

// Wake starts or resumes the engines of w and runs them until all are idle or parked.
func (f *Functional) Wake(w Wake) {
	for w != 0 {
		var next Wake
		for i := range f.engine {
			if w&(1<<i) != 0 {
				next |= f.runEngine(Engine(i))
			}
		}
		w = next
	}
	f.runHeld()
}

// runEngine gives engine i its turn and returns the engines that it woke.
func (f *Functional) runEngine(i Engine) Wake {
	e := &f.engine[i]
	switch e.state {
	case engineRunning:
		e.again = true
		return 0
	case engineParked:
		e.txn.Ans = AnsOK
	case engineIdle:
		e.txn.Req = Request{Type: Job, Job: i, PASID: NoPASID}
		f.unit.Start(&e.txn, &e.txn.Req)
	}
	e.txn.Wake = 0
	e.state = engineRunning
	f.run(&e.txn)
	e.state = engineIdle
	if e.txn.Act.Op == OpPark {
		e.state = engineParked
	}
	w := e.txn.Wake
	e.txn.Wake = 0
	if e.again {
		e.again = false
		w |= i.Set()
	}
	return w
}

// run steps t and answers its questions until it is done or parked. What a miss asks most comes
// first: fetches, then look-ups, then slots, which nobody else holds.
func (f *Functional) run(t *Txn) {
	if f.Trace != nil {
		f.runTraced(t)
		return
	}
	u, m, a := f.unit, f.mem, &t.Act
	for {
		u.Step(t)
		t.Ans = AnsOK
		switch {
		case a.Op == OpFetch:
			f.fetched = true
			if !m.Load(a.Addr, a.Size, &t.In) {
				t.Ans = AnsError
			}
		case a.Op == OpProbe:
			if !f.cache[a.Cache&7].Probe(&a.Key, &t.In) {
				t.Ans = AnsMiss
			}
		case a.Op == OpAcquire || a.Op == OpRelease:
		case a.Op == OpFill:
			f.cache[a.Cache&7].Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
		case a.Op == OpDone || a.Op == OpPark || a.Op == OpHold:
			return
		default:
			t.Ans = f.answer(t)
		}
	}
}

// runTraced is run with Trace, and without its short cuts.
func (f *Functional) runTraced(t *Txn) {
	for {
		f.unit.Step(t)
		op := t.Act.Op
		t.Ans = f.answer(t)
		f.Trace(t)
		if op == OpDone || op == OpPark || op == OpHold {
			return
		}
	}
}

// answer answers the question of t.
func (f *Functional) answer(t *Txn) Answer {
	a := &t.Act
	switch a.Op {
	case OpProbe:
		if !f.cache[a.Cache&7].Probe(&a.Key, &t.In) {
			return AnsMiss
		}
	case OpFill: // nothing marks a transaction here
		f.cache[a.Cache&7].Fill(&a.Key, a.Lg2, a.Attr, &a.Data)
	case OpFetch, OpStore, OpCAS, OpAtomicOr:
		return MemoryAnswer(f.mem, t)
	case OpInvalidate:
		// Nothing else is in flight: dropping the entries is all there is to do.
		for i, c := range f.cache {
			if a.Sel.Caches.Has(CacheID(i)) {
				c.Invalidate(&a.Sel)
			}
		}
	case OpSend:
		f.send(t)
	case OpResume:
		f.resume(a)
	case OpOverlap:
		return OverlapAnswer(f.cache[a.Cache&7], a)
	}
	return AnsOK
}

func (f *Functional) send(t *Txn) {
	a := &t.Act
	switch a.Msg {
	case MsgMSI:
		f.deliver(a.Addr, uint32(a.Data[0]))
	case MsgWire:
		f.pulse(a.N)
	case MsgATSInv:
		source, itag := SourceID(a.Key.Addr), uint8(a.N)
		completed := f.OnATSInvalidate != nil && f.OnATSInvalidate(t)
		if f.ats != nil {
			f.Wake(f.ats.ATSEnded(source, itag, completed))
		}
	case MsgPRGResponse:
		if f.OnPRGResponse != nil {
			f.OnPRGResponse(t)
		}
	}
}

// MemoryAnswer performs the memory operation that t asks for (Fetch, Store, CAS, AtomicOr) on m,
// leaves the data in t.In and returns the answer. Executors share it, so that an operation means
// the same in each of them.
func MemoryAnswer(m Memory, t *Txn) Answer {
	a := &t.Act
	switch a.Op {
	case OpFetch:
		if m.Load(a.Addr, a.Size, &t.In) {
			return AnsOK
		}
	case OpStore:
		if m.Store(a.Addr, a.Size, &a.Data) {
			return AnsOK
		}
	case OpCAS:
		old := [4]uint64{a.Data[0], a.Data[1]}
		val := [4]uint64{a.Data[2], a.Data[3]}
		if swapped, ok := m.CAS(a.Addr, a.Size, &old, &val, &t.In); ok {
			if swapped {
				return AnsOK
			}
			return AnsMiss
		}
	case OpAtomicOr:
		if found, ok := m.Or(a.Addr, a.Data[0]); ok {
			t.In[0] = found
			return AnsOK
		}
	}
	return AnsError
}
