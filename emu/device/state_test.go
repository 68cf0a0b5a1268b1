package device

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// busyEndpoint is an endpoint with lanes in every state, and an invalidation that is held.
func busyEndpoint(t testing.TB) *atsRig {
	r := newATSRig(t, pages(3), func(c *EndpointConfig) { c.Interval = 1 })
	m := map[emu.IOVA]bool{0x5000: true, 0x8000: true}
	r.table = missing(m)
	r.dma(0x5000, emu.Read)
	r.run()
	put := func(addr emu.IOVA) {
		r.now++
		r.dma(addr, emu.Read)
	}
	put(0x6000)
	put(0x6008)
	for len(r.flights) > 0 {
		r.deliver(0) // asked for: one waits for a page, one follows
	}
	put(0x5000) // moving
	require.Equal(t, timing.ATSPending, r.InvalidateATS(0, inv(3, emu.NoPASID, 0x5000, 0, false)))
	put(0x8000) // translating
	r.room = len(r.flights)
	put(0x9000) // wanted
	put(0xa000)
	states := map[laneState]bool{}
	for i := range r.lanes {
		states[r.lanes[i].State] = true
	}
	require.Len(t, states, 6, "%v", states)
	return r
}

func saved(p *Endpoint) []byte {
	var e emu.Encoder
	p.Save(&e)
	return e.Bytes()
}

func TestEndpoint_RestoreGoesOn(t *testing.T) {
	for cut := range 60 {
		run := func(move bool) (*atsRig, []emu.Request) {
			r := newATSRig(t, pages(2), func(c *EndpointConfig) { c.Interval, c.Gather, c.Outstanding = 3, 40, 5 })
			m := map[emu.IOVA]bool{0x5000: true, 0x7000: true}
			r.table = missing(m)
			r.room = 3
			for i := range emu.IOVA(12) {
				r.queue.Put(&emu.Request{Addr: 0x5000 + i%5<<12, PASID: emu.NoPASID, Access: emu.Read}, uint64(2*i))
			}
			r.Kick()
			for n := 0; !r.Idle() || r.queue.Len() > 0; n++ {
				if n == cut && move {
					b := saved(r.Endpoint)
					q := NewQueue(64)
					p, err := NewEndpoint(r.atsUnit, r.cfg, q, r.done)
					require.NoError(t, err)
					require.NoError(t, p.Restore(emu.NewDecoder(b)))
					require.Equal(t, b, saved(p))
					r.Endpoint, r.queue = p, q
				}
				r.now++
				switch {
				case len(r.flights) > 0:
					r.deliver(0)
				case r.atsUnit.timer():
				default:
					for a := emu.IOVA(0x5000); a <= 0x9000; a += 0x1000 {
						m[a] = true
					}
					r.PRGResponse(answer(0, emu.NoPASID, emu.PRGSuccess))
					r.PRGResponse(answer(1, emu.NoPASID, emu.PRGSuccess))
				}
				require.Less(t, n, 1000)
			}
			return r, r.log
		}
		want, log := run(false)
		got, moved := run(true)
		require.Equal(t, log, moved, "cut at %d", cut)
		require.Equal(t, want.ends, got.ends)
		require.Equal(t, want.Stats(), got.Stats())
	}
}

func TestEndpoint_RestoreRefusesWhatDoesNotFit(t *testing.T) {
	r := busyEndpoint(t)
	b := saved(r.Endpoint)
	for name, f := range map[string]func(*EndpointConfig){
		"fewer requests": outstanding(7),
		"other pages":    pages(2),
		"other TLB":      noTLB,
	} {
		o := newATSRig(t, pages(3), f)
		require.ErrorIs(t, o.Restore(emu.NewDecoder(b)), emu.ErrState, name)
	}
	for n := range b {
		o := newATSRig(t, pages(3))
		require.ErrorIs(t, o.Restore(emu.NewDecoder(b[:n])), emu.ErrState)
	}
}

// A checkpoint that contradicts itself is refused, and one that is taken can be run.
func TestEndpoint_RestoreRefusesContradictions(t *testing.T) {
	of := func(r *atsRig, s laneState) *lane {
		for i := range r.lanes {
			if r.lanes[i].State == s {
				return &r.lanes[i]
			}
		}
		t.Fatalf("no lane in state %d", s)
		return nil
	}
	for name, ruin := range map[string]func(r *atsRig){
		"lane twice":              func(r *atsRig) { r.free = append(r.free, r.free[0]) },
		"lane in no list":         func(r *atsRig) { r.free = r.free[1:] },
		"no such lane":            func(r *atsRig) { r.free[0] = 99 },
		"state of another list":   func(r *atsRig) { r.free[0], r.ready.at[r.ready.head] = r.ready.first(), r.free[0] },
		"no such state":           func(r *atsRig) { of(r, laneMoving).State = numLaneStates },
		"size":                    func(r *atsRig) { of(r, laneMoving).Use.Lg2 = 64 },
		"leader":                  func(r *atsRig) { of(r, laneFollow).Leader = 8 },
		"own leader":              func(r *atsRig) { of(r, laneFollow).Leader = 1; of(r, laneFollow).Leader = none },
		"followers":               func(r *atsRig) { of(r, lanePaged).Followers = 2 },
		"no such group":           func(r *atsRig) { of(r, lanePaged).Group = 3 },
		"group not in use":        func(r *atsRig) { of(r, lanePaged).Group = 1 },
		"group of another size":   func(r *atsRig) { r.pri.groups[0].Count = 2 },
		"group of nobody":         func(r *atsRig) { r.pri.groups[1] = group{Used: true} },
		"held by nobody":          func(r *atsRig) { r.pending[3].Count = 2 },
		"held for nobody":         func(r *atsRig) { of(r, laneMoving).Held |= 1 << 9 },
		"lane that moves grouped": func(r *atsRig) { of(r, laneMoving).Group = 0 },
	} {
		r := busyEndpoint(t)
		ruin(r)
		o := newATSRig(t, pages(3), func(c *EndpointConfig) { c.Interval = 1 })
		require.ErrorIs(t, o.Restore(emu.NewDecoder(saved(r.Endpoint))), emu.ErrState, name)
	}
}

func FuzzEndpointRestore(f *testing.F) {
	f.Add(saved(busyEndpoint(f).Endpoint))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newATSRig(t, pages(3), func(c *EndpointConfig) { c.Interval = 1 })
		if r.Restore(emu.NewDecoder(b)) != nil {
			return
		}
		for i := range r.lanes { // what the unit would hold
			if s := r.lanes[i].State; s == laneMoving || s == laneTranslating {
				q := r.lanes[i].Req
				q.Type = map[laneState]emu.ReqType{laneMoving: emu.Translated, laneTranslating: emu.TranslationReq}[s]
				r.flights = append(r.flights, &flight{Tag: uint32(i), Req: q})
				r.flying++
			}
		}
		r.InvalidateATS(0, inv(5, emu.NoPASID, 0x5000, 2, false))
		for n := 0; len(r.flights) > 0 && n < 200; n++ {
			r.deliver(0)
		}
		for i := range uint16(3) {
			r.PRGResponse(answer(i, emu.NoPASID, emu.PRGFailure))
		}
		saved(r.Endpoint)
	})
}

func TestEndpoint_AllocatesNothing(t *testing.T) {
	d := &looped{}
	d.flights = make([]flight, 0, 64)
	c := plainConfig
	c.Pages = 4
	queue := NewQueue(8)
	p, err := NewEndpoint(d, c, queue, func(*timing.Completion, End) {})
	require.NoError(t, err)
	n := 0
	q := emu.Request{PASID: emu.NoPASID, Access: emu.Read}
	require.Zero(t, testing.AllocsPerRun(2000, func() {
		for k := range 4 {
			n++
			q.Addr = emu.IOVA(n/3*7+k) << 12
			queue.Put(&q, 0)
		}
		p.Kick()
		d.step(p)
		p.InvalidateATS(0, inv(uint8(n%32), emu.NoPASID, uint64(q.Addr), 2, false))
		for len(d.flights) > 0 {
			d.step(p)
		}
	}))
	require.True(t, p.Idle())
	s := p.Stats()
	require.NotZero(t, s.PageRequests)
	require.NotZero(t, s.Held)
	require.NotZero(t, s.Discarded)
}

// looped is a bus that allocates nothing. Every third page is missing until it is asked for.
type looped struct {
	flights []flight
	now     flight
	asked   [64]bool
	c       timing.Completion
	resp    emu.PRGResponse
}

func (d *looped) Now() uint64                 { return 0 }
func (d *looped) AddClient(timing.Client) int { return 0 }
func (d *looped) Timer(int, uint64, uint32)   {}
func (d *looped) CompleteATS(int, uint8)      {}
func (d *looped) Issue(_, _ int, tag uint32, q *emu.Request) bool {
	if len(d.flights) == cap(d.flights) {
		return false
	}
	d.flights = append(d.flights, flight{Tag: tag, Req: *q})
	return true
}

// step answers the youngest request.
func (d *looped) step(p *Endpoint) {
	d.now = d.flights[len(d.flights)-1]
	d.flights = d.flights[:len(d.flights)-1]
	q := &d.now.Req
	page := q.Addr >> 12
	d.now.Res = emu.Result{Status: emu.OK, PA: emu.PA(q.Addr), Lg2: 12, Perm: emu.RW}
	if q.Type == emu.TranslationReq && page%3 == 0 && !d.asked[page%64] {
		d.now.Res.Perm = 0
	}
	d.c = timing.Completion{Tag: d.now.Tag, Request: q, Result: &d.now.Res}
	p.Complete(&d.c)
	if index, last := q.PRG(); q.Type == emu.PageRequest {
		d.asked[page%64] = true
		if last {
			d.resp = emu.PRGResponse{PASID: emu.NoPASID, Index: index}
			p.PRGResponse(&d.resp)
		}
	}
}
