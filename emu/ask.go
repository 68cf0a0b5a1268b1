package emu

// The questions a transaction asks. Each method leaves t.Act for the executor and, in t.State, the
// state in which the unit consumes the answer.

// Fetch reads size bytes at pa.
func (t *Txn) Fetch(pa PA, size uint8, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Addr, a.Size, a.Follow, a.Step = OpFetch, pa, size, false, step
	t.State = next
}

// FetchMore reads a further part of the structure whose first part was just read.
func (t *Txn) FetchMore(pa PA, size uint8, step Step, next uint16) {
	t.Fetch(pa, size, step, next)
	t.Act.Follow = true
}

// Swap compares the 8 bytes at pa with old and stores val if they are equal.
func (t *Txn) Swap(pa PA, old, val uint64, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Addr, a.Size, a.Step = OpCAS, pa, 8, step
	a.Data = [4]uint64{old, 0, val, 0}
	t.State = next
}

// Probe looks key k up in cache c.
func (t *Txn) Probe(c CacheID, k Key, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Cache, a.Key, a.Step = OpProbe, c, k, step
	t.Res.Touched |= c.Set()
	t.State = next
}

// Fill puts t.Act.Data, which the caller has set, into cache c. lg2 and attr are those of Cache.Fill.
func (t *Txn) Fill(c CacheID, k Key, lg2 uint8, attr uint32, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Cache, a.Key, a.Lg2, a.Attr, a.Step = OpFill, c, k, lg2, attr, step
	t.State = next
}

// Acquire asks for a slot; k merges those who want the same.
func (t *Txn) Acquire(s SlotClass, k Key, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Slot, a.Key, a.Step = OpAcquire, s, k, step
	t.State = next
}

// Release gives a slot back.
func (t *Txn) Release(s SlotClass, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Slot, a.Step = OpRelease, s, step
	t.State = next
}

// Order waits for earlier posted writes of the requester.
func (t *Txn) Order(step Step, next uint16) {
	t.Act.Op, t.Act.Step = OpOrder, step
	t.State = next
}

// Delay lets the latency of c pass once.
func (t *Txn) Delay(c DelayClass, step Step, next uint16) {
	a := &t.Act
	a.Op, a.Delay, a.N, a.Step = OpDelay, c, 1, step
	t.State = next
}

// Invalidate drops what t.Act.Sel, which the caller has set, selects.
func (t *Txn) Invalidate(step Step, next uint16) {
	t.Act.Op, t.Act.Step = OpInvalidate, step
	t.State = next
}

// Drain waits for the transactions that invalidations have marked.
func (t *Txn) Drain(step Step, next uint16) {
	t.Act.Op, t.Act.Step = OpDrain, step
	t.State = next
}

// Park waits until the engine is woken.
func (t *Txn) Park(step Step, next uint16) {
	t.Act.Op, t.Act.Step = OpPark, step
	t.State = next
}

// Done ends t with t.Res.
func (t *Txn) Done(step Step) {
	t.Act.Op, t.Act.Step = OpDone, step
	t.State = StateEnded
}

// StateEnded is the state of a transaction that has ended: 0 in every unit.
const StateEnded uint16 = 0

// Begin prepares t for request q, which may be &t.Req, in a unit's first state. What a translation
// sets before it looks at it - Act, In and Frame - is left as it is.
func (t *Txn) Begin(q *Request, first uint16) {
	// Field by field: a wider load would have to wait for the stores of who made the request.
	r := &t.Req
	r.Addr, r.Source, r.PASID, r.Len = q.Addr, q.Source, q.PASID, q.Len
	r.Access, r.Type, r.Job, r.Data = q.Access, q.Type, q.Job, q.Data
	t.Ans, t.Marked, t.State, t.Wake = AnsOK, false, first, 0
	t.Tag, t.Known, t.Uses, t.Classes = 0, 0, 0, 0
	t.Res = Result{}
	t.Entry = [8]uint64{}
	t.At, t.Ver = 0, 0
	t.Aux = [4]uint64{}
}

// BeginJob prepares t for the job of an engine.
func (t *Txn) BeginJob(q *Request, first uint16) { *t = Txn{Req: *q, State: first} }
