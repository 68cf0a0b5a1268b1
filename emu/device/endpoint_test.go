package device

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

const atsSource emu.SourceID = 0x208

// atsUnit is a unit whose answers a test decides: table gives them, when the request is served.
type atsUnit struct {
	now       uint64
	client    timing.Client
	room      int // requests it takes at one time; 0: any number
	flights   []*flight
	timers    []uint64
	table     func(q *emu.Request) emu.Result
	completed []uint8 // ITags
	log       []emu.Request
}

type flight struct {
	Tag    uint32
	Req    emu.Request
	Res    emu.Result
	Served bool
}

func (b *atsUnit) Now() uint64                      { return b.now }
func (b *atsUnit) AddClient(c timing.Client) int    { b.client = c; return 3 }
func (b *atsUnit) Timer(_ int, at uint64, _ uint32) { b.timers = append(b.timers, at) }
func (b *atsUnit) CompleteATS(unit int, itag uint8) { b.completed = append(b.completed, itag) }
func (b *atsUnit) types() (s string) {
	for _, q := range b.log {
		s += "UtTPJ"[q.Type : q.Type+1]
	}
	return s
}

func (b *atsUnit) Issue(_, _ int, tag uint32, q *emu.Request) bool {
	if b.room > 0 && len(b.flights) == b.room {
		return false
	}
	b.log = append(b.log, *q)
	b.flights = append(b.flights, &flight{Tag: tag, Req: *q})
	return true
}

// serve decides the answer to flight i.
func (b *atsUnit) serve(i int) {
	if f := b.flights[i]; !f.Served {
		f.Res, f.Served = b.table(&f.Req), true
	}
}

// deliver gives the answer to flight i to the device.
func (b *atsUnit) deliver(i int) {
	b.serve(i)
	f := b.flights[i]
	b.flights = append(b.flights[:i], b.flights[i+1:]...)
	b.client.Complete(&timing.Completion{Tag: f.Tag, Request: &f.Req, Result: &f.Res, Done: b.now})
}

// timer lets the earliest timer come.
func (b *atsUnit) timer() bool {
	first := -1
	for i, at := range b.timers {
		if first < 0 || at < b.timers[first] {
			first = i
		}
	}
	if first < 0 {
		return false
	}
	b.now = max(b.now, b.timers[first])
	b.timers = append(b.timers[:first], b.timers[first+1:]...)
	b.client.Timer(0)
	return true
}

// run serves all in order until nothing is left.
func (b *atsUnit) run() {
	for {
		b.now++
		if len(b.flights) > 0 {
			b.deliver(0)
		} else if !b.timer() {
			return
		}
	}
}

// granted is a table in which page p is mapped to page p+0x100 with these rights and this size.
func granted(perm emu.Access, lg2 uint8) func(*emu.Request) emu.Result {
	return func(q *emu.Request) emu.Result {
		if q.Type != emu.TranslationReq {
			return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr)}
		}
		return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr) + 0x10_0000_0000, Perm: perm, Lg2: lg2}
	}
}

type ended struct {
	Addr emu.IOVA
	End  End
}

type atsRig struct {
	*atsUnit
	*Endpoint
	queue *Queue
	ends  []ended
}

var plainConfig = EndpointConfig{Source: atsSource, Outstanding: 8, TLB: iotlb.Geometry{Sets: 4, Ways: 4}}

func newATSRig(t testing.TB, change ...func(*EndpointConfig)) *atsRig {
	c := plainConfig
	for _, f := range change {
		f(&c)
	}
	r := &atsRig{atsUnit: &atsUnit{table: granted(emu.RW, 12)}, queue: NewQueue(64)}
	var err error
	r.Endpoint, err = NewEndpoint(r.atsUnit, c, r.queue, func(c *timing.Completion, end End) {
		r.ends = append(r.ends, ended{c.Request.Addr, end})
	})
	require.NoError(t, err)
	return r
}

func pages(n int) func(*EndpointConfig) { return func(c *EndpointConfig) { c.Pages = n } }
func outstanding(n int) func(*EndpointConfig) {
	return func(c *EndpointConfig) { c.Outstanding = n }
}
func noTLB(c *EndpointConfig) { c.TLB = iotlb.Geometry{} }

func (r *atsRig) dma(addr emu.IOVA, a emu.Access) { r.dmaPASID(addr, a, emu.NoPASID) }

func (r *atsRig) dmaPASID(addr emu.IOVA, a emu.Access, p emu.PASID) {
	r.queue.Put(&emu.Request{Addr: addr, Source: atsSource, PASID: p, Access: a, Len: 8}, 0)
	r.Kick()
}

func TestEndpoint_TranslatesAheadAndKeepsIt(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5008, emu.Read)
	require.Equal(t, []emu.Request{{
		Addr: 0x5000, Source: atsSource, PASID: emu.NoPASID, Access: emu.RW, Type: emu.TranslationReq,
	}}, r.log)
	r.run()
	require.Equal(t, emu.Request{
		Addr: 0x10_0000_5008, Source: atsSource, PASID: emu.NoPASID, Access: emu.Read, Type: emu.Translated, Len: 8,
	}, r.log[1])
	r.dma(0x5ff8, emu.Write)
	r.run()
	require.Equal(t, "tTT", r.types())
	require.Equal(t, []ended{{0x5008, EndOK}, {0x5ff8, EndOK}}, r.ends)
	require.True(t, r.Idle())
	require.EqualValues(t, 2, r.Completed())
	require.EqualValues(t, 1, r.Stats().Translations)
	require.Equal(t, 1, r.TLB().Len())
}

func TestEndpoint_LargePageServesAllOfIt(t *testing.T) {
	r := newATSRig(t)
	r.table = granted(emu.RW, 21)
	r.dma(0x20_5008, emu.Read)
	r.run()
	r.dma(0x3f_f000, emu.Read)
	r.run()
	require.Equal(t, "tTT", r.types())
	require.EqualValues(t, 0x10_003f_f000, r.log[2].Addr)
}

func TestEndpoint_WithoutTLBEveryRequestIsTranslated(t *testing.T) {
	r := newATSRig(t, noTLB)
	for range 2 {
		r.dma(0x5000, emu.Read)
		r.dma(0x5000, emu.Read)
		r.run()
	}
	require.Equal(t, "ttTTttTT", r.types())
	require.Nil(t, r.TLB())
}

func TestEndpoint_RequestsForOnePageShareATranslationRequest(t *testing.T) {
	r := newATSRig(t)
	for i := range emu.IOVA(4) {
		r.dma(0x5000+8*i, emu.Read)
	}
	r.dmaPASID(0x5000, emu.Read, 0) // not the same page
	r.run()
	require.Equal(t, "ttTTTTT", r.types())
	for i := range emu.IOVA(4) {
		require.Equal(t, ended{0x5000 + 8*i, EndOK}, r.ends[i])
	}
}

// One that has its translation does not wait for those that have not.
func TestEndpoint_HitOvertakesMisses(t *testing.T) {
	r := newATSRig(t)
	r.dma(0x5000, emu.Read)
	r.run()
	r.dma(0x6000, emu.Read)
	r.dma(0x5000, emu.Read)
	require.Equal(t, "tTtT", r.types())
}

func TestEndpoint_RightsDecideWhatHits(t *testing.T) {
	exec, priv := emu.Read|emu.Exec, emu.Read|emu.Priv
	for name, c := range map[string]struct {
		first, then emu.Access
		perm        emu.Access // of the completion
		types       string
	}{
		"read after read":      {emu.Read, emu.Read, emu.Read, "tTT"},
		"write after read":     {emu.Read, emu.Write, emu.Read, "tTt"},
		"write after both":     {emu.Read, emu.Write, emu.RW, "tTT"},
		"atomic without write": {emu.Read, emu.Atomic, emu.Read, "tTt"},
		"atomic":               {emu.Read, emu.Atomic, emu.RW, "tTT"},
		"exec after read":      {emu.Read, exec, emu.RW, "tTt"},
		"read after exec":      {exec, emu.Read, emu.RW | emu.Exec, "tTT"},
		"priv after user":      {emu.Read, priv, emu.RW, "tTtT"},
		"user after priv":      {priv, emu.Read, emu.RW | emu.Priv, "tTtT"},
		"zero-length":          {emu.Read, 0, emu.RW, "tTT"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newATSRig(t)
			r.table = granted(c.perm, 12)
			r.dmaPASID(0x5000, c.first, 7)
			r.run()
			r.dmaPASID(0x5000, c.then, 7)
			r.run()
			require.Equal(t, c.types, r.types())
		})
	}
}

func TestEndpoint_WhatATranslationRequestAsksFor(t *testing.T) {
	nw := func(c *EndpointConfig) { c.NoWrite = true }
	for name, c := range map[string]struct {
		access emu.Access
		pasid  emu.PASID
		nw     bool
		want   emu.Access
	}{
		"read":              {emu.Read, emu.NoPASID, false, emu.RW},
		"read, NW":          {emu.Read, emu.NoPASID, true, emu.Read | emu.NoWrite},
		"write, NW":         {emu.Write, emu.NoPASID, true, emu.RW},
		"atomic, NW":        {emu.Atomic, emu.NoPASID, true, emu.RW},
		"exec, priv":        {emu.Read | emu.Exec | emu.Priv, 3, false, emu.RW | emu.Exec | emu.Priv},
		"no PASID, no exec": {emu.Read | emu.Exec | emu.Priv, emu.NoPASID, false, emu.RW},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(*EndpointConfig) {}
			if c.nw {
				change = nw
			}
			r := newATSRig(t, change)
			r.dmaPASID(0x5000, c.access, c.pasid)
			require.Equal(t, c.want, r.log[0].Access)
			require.Equal(t, c.pasid, r.log[0].PASID)
		})
	}
}

func TestEndpoint_TranslatedRequestsCarryThePASIDIfTheyShall(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := newATSRig(t, func(c *EndpointConfig) { c.TranslatedPASID = on })
		r.dmaPASID(0x5000, emu.Read, 7)
		r.run()
		want := emu.NoPASID
		if on {
			want = 7
		}
		require.Equal(t, want, r.log[1].PASID)
	}
}

// U: an interrupt message, for instance.
func TestEndpoint_UntranslatedOnly(t *testing.T) {
	r := newATSRig(t)
	r.table = granted(emu.Write|emu.UntranslatedOnly, 12)
	for range 2 {
		r.queue.Put(&emu.Request{Addr: 0xfee0_0000, PASID: emu.NoPASID, Access: emu.Write, Len: 4, Data: 0x41}, 0)
		r.Kick()
		r.run()
	}
	require.Equal(t, "tUU", r.types())
	require.Equal(t, emu.Request{Addr: 0xfee0_0000, Source: atsSource, PASID: emu.NoPASID, Access: emu.Write, Len: 4, Data: 0x41}, r.log[2])
}

func TestEndpoint_GlobalMappingServesAllPASIDs(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := newATSRig(t, func(c *EndpointConfig) { c.Global = on })
		r.table = granted(emu.RW|emu.Global, 12)
		r.dmaPASID(0x5000, emu.Read, 7)
		r.run()
		r.dmaPASID(0x5000, emu.Read, 8)
		r.run()
		want := map[bool]string{false: "tTtT", true: "tTT"}[on]
		require.Equal(t, want, r.types())
		r.dma(0x5000, emu.Read)
		require.Equal(t, want+"t", r.types(), "requests without PASID have mappings of their own")
	}
}

func TestEndpoint_WithoutRightsNothingIsKept(t *testing.T) {
	r := newATSRig(t)
	r.table = granted(0, 12)
	r.dma(0x5000, emu.Read)
	r.run()
	require.Equal(t, []ended{{0x5000, EndNoRights}}, r.ends)
	require.Zero(t, r.TLB().Len())
	require.Equal(t, "t", r.types())
}

func TestEndpoint_BlockedRequests(t *testing.T) {
	for _, typ := range []emu.ReqType{emu.TranslationReq, emu.Translated} {
		r := newATSRig(t)
		good := r.table
		r.table = func(q *emu.Request) emu.Result {
			if q.Type == typ {
				return emu.Result{Status: emu.Blocked, Fault: emu.Fault{Code: 5}}
			}
			return good(q)
		}
		var got emu.Result
		r.done = func(c *timing.Completion, end End) {
			got = *c.Result
			r.ends = append(r.ends, ended{c.Request.Addr, end})
		}
		r.dma(0x5000, emu.Read)
		r.run()
		require.Equal(t, []ended{{0x5000, EndBlocked}}, r.ends)
		require.EqualValues(t, 5, got.Fault.Code)
		require.True(t, r.Idle())
	}
}

func TestEndpoint_OtherTypesAreSentAsTheyAre(t *testing.T) {
	r := newATSRig(t)
	for _, typ := range []emu.ReqType{emu.TranslationReq, emu.Translated, emu.PageRequest} {
		r.queue.Put(&emu.Request{Addr: 0x5000, PASID: 9, Access: emu.Read, Type: typ, Data: 0x207}, 0)
	}
	r.Kick()
	r.run()
	require.Equal(t, "tTP", r.types())
	require.EqualValues(t, 9, r.log[1].PASID)
	require.Len(t, r.ends, 3)
	require.Zero(t, r.TLB().Len())
	require.True(t, r.Idle())
}

func TestEndpoint_KeepsOutstandingAndInterval(t *testing.T) {
	r := newATSRig(t, outstanding(2), func(c *EndpointConfig) { c.Interval = 50 })
	for i := range emu.IOVA(6) {
		r.queue.Put(&emu.Request{Addr: i << 12, PASID: emu.NoPASID, Access: emu.Read}, 0)
	}
	r.Kick()
	require.Equal(t, 1, r.InFlight())
	r.atsUnit.timer()
	require.Equal(t, 2, r.InFlight())
	require.EqualValues(t, 50, r.now)
	r.run()
	require.EqualValues(t, 6, r.Completed())
}

func TestEndpoint_TriesAgainWhenTheUnitIsFull(t *testing.T) {
	r := newATSRig(t)
	r.room = 1
	var seen int
	for i := range emu.IOVA(20) {
		r.queue.Put(&emu.Request{Addr: i << 12, PASID: emu.NoPASID, Access: emu.Read}, 0)
	}
	r.Kick()
	r.Each(func(*emu.Request) { seen++ })
	require.Equal(t, 2, seen, "one in the unit, one that waits")
	r.run()
	require.EqualValues(t, 20, r.Completed())
	// Nothing of its own in flight: it comes back by a timer.
	r.flights = append(r.flights, &flight{})
	r.dma(0x5000, emu.Read)
	require.Len(t, r.timers, 1)
	r.flights = nil
	r.run()
	require.EqualValues(t, 21, r.Completed())
}

func TestNewEndpoint_RefusesWhatMakesNoSense(t *testing.T) {
	for name, f := range map[string]func(*EndpointConfig){
		"no requests":          outstanding(0),
		"too many":             outstanding(4097),
		"negative pages":       pages(-1),
		"more groups than are": pages(513),
		"TLB":                  func(c *EndpointConfig) { c.TLB.Sets = 3 },
	} {
		c := plainConfig
		f(&c)
		_, err := NewEndpoint(&atsUnit{}, c, NewQueue(1), nil)
		require.Error(t, err, name)
	}
}
