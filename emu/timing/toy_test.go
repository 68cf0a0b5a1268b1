package timing

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/iotlb"
)

// toy is the smallest unit with everything the executor has to get right: one table of 8-byte
// entries at toyTable, indexed by page; bit 0 is present, the rest the page it maps to. Register 0
// is the doorbell of engine 0: writing a page number invalidates it, waits, stores the number to
// toyStatus and sends the message in register 8 (address) and 16 (data). Register 24 is that of
// engine 1, with its status behind the other's. A 4-byte write is an interrupt message, passed as it is.
type toy struct {
	tlb     *iotlb.Cache
	page    [2]uint64 // per engine
	msiAddr uint64
	msiData uint64
	jobs    int
	ended   [2]uint64 // per engine: its ATS invalidation
	stray   []emu.SourceID

	// What a test changes; no part of a checkpoint.
	gap     uint32       // steps between an invalidation and its drain
	late    uint32       // steps of a merged request until it fills the cache itself; 0: it does not
	unknown bool         // requests do not know their domain
	domain  uint32       // invalidate this domain; 0: the page
	caches  emu.CacheSet // invalidate these; 0: the IOTLB
	ats     emu.SourceID // ask this device to invalidate after the drain, how it ended goes to status 63:32
	pages   bool         // the invalidation waits for page requests instead
	written func()       // called when a register write arrives
}

const (
	toyTable  = emu.PA(0x10_0000)
	toyStatus = emu.PA(0x20_0000)
)

const (
	toyStart = iota
	toyProbed
	toyOwner
	toyWalker
	toyFetched
	toyFilled
	toyLate
	toyOrdered
	toyInvalidated
	toyDrain
	toyDrained
	toyAsked
	toyAnswered
	toyStored
	toySent
)

// How an ATS invalidation ended.
const (
	toyWaits = iota
	toyCompleted
	toyTimedOut
)

func newToy(g iotlb.Geometry) *toy {
	c, err := iotlb.New(g)
	if err != nil {
		panic(err)
	}
	return &toy{tlb: c}
}

func (u *toy) ReadReg(uint32, uint8) uint64 { return u.page[0] }

func (u *toy) WriteReg(off uint32, _ uint8, v uint64) emu.Wake {
	if u.written != nil {
		u.written()
	}
	switch off {
	case 0, 24:
		u.page[off/24] = v
		return emu.Engine(off / 24).Set()
	case 8:
		u.msiAddr = v
	case 16:
		u.msiData = v
	}
	return 0
}

func (u *toy) ATSEnded(_ emu.SourceID, itag uint8, completed bool) emu.Wake {
	u.ended[itag] = toyTimedOut
	if completed {
		u.ended[itag] = toyCompleted
	}
	return emu.Engine(itag).Set()
}

func (u *toy) UnexpectedATSCompletion(source emu.SourceID) emu.Wake {
	u.stray = append(u.stray, source)
	return 0
}

func toyKey(a emu.IOVA) emu.Key { return emu.Key{Addr: uint64(a)} }

func (u *toy) Lookup(q *emu.Request, r *emu.Result) bool {
	if u.tlb == nil {
		return false
	}
	k := toyKey(q.Addr)
	var v [4]uint64
	h, ok := u.tlb.Peek(&k, &v)
	if ok {
		u.tlb.Touch(h)
		*r = toyResult(q, v[0])
	}
	return ok
}

func toyResult(q *emu.Request, e uint64) emu.Result {
	if e&1 == 0 {
		return emu.Result{Status: emu.Blocked}
	}
	return emu.Result{Status: emu.OK, PA: emu.PA(e&^0xfff) | emu.PA(q.Addr&0xfff)}
}

func (u *toy) Start(t *emu.Txn, q *emu.Request) {
	*t = emu.Txn{Req: *q}
}

func (u *toy) Step(t *emu.Txn) {
	a := &t.Act
	*a = emu.Act{Key: toyKey(t.Req.Addr &^ 0xfff), Cache: emu.CacheIOTLB, Lg2: 12}
	if t.Req.Type == emu.Job {
		u.job(t)
		return
	}
	next := func(op emu.Op, state uint16) { a.Op, t.State = op, state }
	switch t.State {
	case toyStart:
		t.Known = emu.KnownLive | emu.KnownDomain
		if u.unknown {
			t.Known = emu.KnownLive
		}
		if t.Req.Len == 4 {
			t.Uses = emu.CacheInterrupt.Set()
			next(emu.OpOrder, toyOrdered)
			return
		}
		next(emu.OpProbe, toyProbed)
	case toyOrdered:
		t.Res = emu.Result{Status: emu.Interrupt, PA: emu.PA(t.Req.Addr), Data: t.Req.Data}
		next(emu.OpDone, 0)
	case toyProbed:
		if t.Ans == emu.AnsOK {
			t.Res = toyResult(&t.Req, t.In[0])
			next(emu.OpDone, 0)
			return
		}
		a.Slot = emu.SlotMiss
		next(emu.OpAcquire, toyOwner)
	case toyOwner:
		switch t.Ans {
		case emu.AnsMerged:
			t.Res = toyResult(&t.Req, t.In[0])
			next(emu.OpDone, 0)
			if u.late > 0 {
				a.Delay, a.N, t.Aux[0] = emu.DelayStep, u.late, t.In[0]
				next(emu.OpDelay, toyLate)
			}
		case emu.AnsRetry:
			next(emu.OpProbe, toyProbed)
		default:
			a.Slot = emu.SlotWalker
			next(emu.OpAcquire, toyWalker)
		}
	case toyWalker:
		a.Addr, a.Size = toyTable+emu.PA(t.Req.Addr>>12*8), 8
		next(emu.OpFetch, toyFetched)
	case toyFetched:
		t.Res = toyResult(&t.Req, t.In[0])
		if t.Res.Status != emu.OK {
			next(emu.OpDone, 0)
			return
		}
		a.Data = t.In
		next(emu.OpFill, toyFilled)
	case toyLate:
		a.Data[0] = t.Aux[0]
		next(emu.OpFill, toyFilled)
	case toyFilled:
		next(emu.OpDone, 0)
	}
}

func (u *toy) job(t *emu.Txn) {
	a := &t.Act
	page := u.page[t.Req.Job]
	next := func(op emu.Op, state uint16) { a.Op, t.State = op, state }
	switch t.State {
	case toyStart:
		u.jobs++
		a.Sel = emu.Selector{
			Caches: emu.CacheIOTLB.Set(), Match: emu.MatchAddress,
			First: page << 12, Last: page<<12 | 0xfff,
		}
		if u.caches != 0 {
			a.Sel = emu.Selector{Caches: u.caches}
		}
		if u.domain != 0 {
			a.Sel.Match, a.Sel.Domain = emu.MatchDomain, u.domain
		}
		if u.pages {
			a.Sel = emu.Selector{Match: emu.MatchType, Type: emu.PageRequest}
		}
		next(emu.OpInvalidate, toyInvalidated)
	case toyInvalidated:
		next(emu.OpDrain, toyDrained)
		if u.gap > 0 {
			a.Delay, a.N = emu.DelayStep, u.gap
			next(emu.OpDelay, toyDrain)
		}
	case toyDrain:
		next(emu.OpDrain, toyDrained)
	case toyDrained:
		t.Aux[0] = page
		if u.ats != 0 {
			u.ended[t.Req.Job] = toyWaits
			a.Msg, a.Key.Addr, a.N = emu.MsgATSInv, uint64(u.ats), uint32(t.Req.Job)
			next(emu.OpSend, toyAsked)
			return
		}
		a.Addr, a.Size, a.Data = toyStatus+emu.PA(t.Req.Job)*8, 8, t.Aux
		next(emu.OpStore, toyStored)
	case toyAsked:
		next(emu.OpPark, toyAsked)
		if u.ended[t.Req.Job] == toyWaits {
			return
		}
		fallthrough
	case toyAnswered:
		t.Aux[0] |= u.ended[t.Req.Job] << 32
		a.Addr, a.Size, a.Data = toyStatus+emu.PA(t.Req.Job)*8, 8, t.Aux
		next(emu.OpStore, toyStored)
	case toyStored:
		a.Msg, a.Addr, a.Data = emu.MsgMSI, emu.PA(u.msiAddr), [4]uint64{u.msiData}
		next(emu.OpSend, toySent)
	case toySent:
		next(emu.OpPark, toyStart)
	}
}

func (u *toy) Cache(id emu.CacheID) emu.Cache {
	if id == emu.CacheIOTLB && u.tlb != nil {
		return u.tlb
	}
	return nil
}

func (u *toy) Load(emu.RegImage) error        { return nil }
func (u *toy) Reset(emu.ResetKind)            {}
func (u *toy) Describe(emu.Step) emu.StepInfo { return emu.StepInfo{} }
func (u *toy) FaultName(uint16) string        { return "" }
func (u *toy) Observe(emu.Observer)           {}
func (u *toy) Save(e *emu.Encoder) {
	for _, v := range []uint64{u.page[0], u.page[1], u.msiAddr, u.msiData, uint64(u.jobs), u.ended[0], u.ended[1]} {
		e.U64(v)
	}
	if u.tlb != nil {
		u.tlb.Save(e)
	}
}

func (u *toy) Restore(d *emu.Decoder) error {
	u.page, u.msiAddr, u.msiData, u.jobs = [2]uint64{d.U64(), d.U64()}, d.U64(), d.U64(), int(d.U64())
	u.ended = [2]uint64{d.U64(), d.U64()}
	if u.tlb != nil {
		return u.tlb.Restore(d)
	}
	return d.Err()
}
