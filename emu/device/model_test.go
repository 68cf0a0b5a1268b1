package device

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
)

// world is what software and a unit do to an endpoint: mappings change, invalidations arrive whenever
// they like. No page of memory is ever used for two mappings, so what is stale shows by its address.
type world struct {
	t      *rapid.T
	cfg    EndpointConfig
	unit   *atsUnit
	dev    *Endpoint
	source *Queue
	puts   int
	ends   int

	spaces  map[emu.PASID]*space
	frames  emu.PA               // next free one
	dead    map[emu.PA]bool      // pages that no access may use any more
	tags    map[uint8]*sentInv   // invalidations sent
	arrived map[uint8]*sentInv   // of these, at the device
	open    map[uint16]emu.PASID // page request groups whose last has been served
}

const blockPages = 8

// space is the block of pages that a PASID has: one large page, or small ones, 0 for none.
type space struct {
	large emu.PA
	small [blockPages]emu.PA
}

type sentInv struct {
	q     *emu.ATSInvalidation
	kills []emu.PA
}

var worldPASIDs = []emu.PASID{emu.NoPASID, 1, 2}

func (w *world) frame(n emu.PA) emu.PA {
	w.frames = (w.frames + n - 1) &^ (n - 1)
	at := w.frames
	w.frames += n
	return at << emu.PageShift
}

func (w *world) answer(q *emu.Request) emu.Result {
	switch q.Type {
	case emu.PageRequest:
		if index, last := q.PRG(); last {
			w.open[index] = q.PASID
		}
	case emu.TranslationReq:
		s := w.spaces[q.PASID]
		page := q.Addr >> emu.PageShift % blockPages
		switch {
		case s.large != 0:
			return emu.Result{Status: emu.OK, PA: s.large | emu.PA(page)<<emu.PageShift, Lg2: 15, Perm: emu.RW}
		case s.small[page] != 0:
			return emu.Result{Status: emu.OK, PA: s.small[page], Lg2: 12, Perm: emu.RW}
		}
		return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr), Lg2: 12}
	}
	return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr)}
}

// change gives a page, or the block, another mapping or none, and sends the invalidation.
func (w *world) change() {
	p := rapid.SampledFrom(worldPASIDs).Draw(w.t, "pasid")
	s := w.spaces[p]
	tag := uint8(0)
	for ; w.tags[tag] != nil; tag++ {
		if tag == emu.MaxITags-1 {
			return
		}
	}
	o := &sentInv{}
	// An invalidation without PASID is for all of them, at all addresses (PCIe 10.3.8).
	by := p
	if rapid.Bool().Draw(w.t, "without PASID") {
		by = emu.NoPASID
	}
	if rapid.Bool().Draw(w.t, "block") {
		for i := range emu.PA(blockPages) {
			if s.large != 0 {
				o.kills = append(o.kills, s.large+i<<emu.PageShift)
			} else {
				o.kills = append(o.kills, s.small[i])
			}
		}
		*s = space{}
		if rapid.Bool().Draw(w.t, "large") {
			s.large = w.frame(blockPages)
		}
		o.q = inv(tag, by, 0, 3, rapid.Bool().Draw(w.t, "global"))
	} else {
		if s.large != 0 { // the large page is split
			for i := range s.small {
				s.small[i] = s.large + emu.PA(i)<<emu.PageShift
			}
			s.large = 0
		}
		i := rapid.IntRange(0, blockPages-1).Draw(w.t, "page")
		o.kills = append(o.kills, s.small[i])
		s.small[i] = 0
		if rapid.Bool().Draw(w.t, "map") {
			s.small[i] = w.frame(1)
		}
		o.q = inv(tag, by, uint64(i)<<emu.PageShift, 0, rapid.Bool().Draw(w.t, "global"))
	}
	if by != p {
		o.q.Body = uint64(rapid.IntRange(0, blockPages-1).Draw(w.t, "anywhere")) << emu.PageShift
	}
	w.tags[tag] = o
}

func (w *world) arrive() {
	for tag := range uint8(emu.MaxITags) {
		o := w.tags[tag]
		if o == nil || w.arrived[tag] != nil || rapid.Bool().Draw(w.t, "later") {
			continue
		}
		w.arrived[tag] = o
		if w.dev.InvalidateATS(0, o.q) == timing.ATSCompleted {
			w.unit.completed = append(w.unit.completed, tag)
		}
	}
}

// check looks at what has been completed, and at everything that could be stale.
func (w *world) check() {
	for _, tag := range w.unit.completed {
		o := w.arrived[tag]
		require.NotNil(w.t, o, "completion of %d, which is not outstanding", tag)
		for _, pa := range o.kills {
			w.dead[pa] = pa != 0
		}
		delete(w.tags, tag)
		delete(w.arrived, tag)
	}
	w.unit.completed = w.unit.completed[:0]
	for _, f := range w.unit.flights {
		require.False(w.t, f.Req.Type == emu.Translated && w.dead[emu.PA(f.Req.Addr)&^(emu.PageSize-1)],
			"access to %#x in flight, or sent after its invalidation", f.Req.Addr)
	}
	if w.dev.tlb != nil {
		w.dev.tlb.Entries(func(k emu.Key, lg2 uint8, v [4]uint64) bool {
			for i := range emu.PA(1) << (lg2 - 12) {
				require.False(w.t, w.dead[emu.PA(v[0])+i<<12], "kept for %#x", k.Addr)
			}
			return true
		})
	}
	live := 0
	for i := range w.dev.pri.groups {
		live += int(w.dev.pri.groups[i].Count)
	}
	require.Equal(w.t, w.cfg.Pages, w.dev.pri.credits+live)
}

func (w *world) put() {
	q := emu.Request{
		Addr:   emu.IOVA(rapid.IntRange(0, blockPages-1).Draw(w.t, "page"))<<emu.PageShift + 8,
		PASID:  rapid.SampledFrom(worldPASIDs).Draw(w.t, "pasid"),
		Access: rapid.SampledFrom([]emu.Access{emu.Read, emu.Write}).Draw(w.t, "access"), Len: 8,
	}
	if w.source.Put(&q, 0) {
		w.puts++
	}
	w.dev.Kick()
}

func (w *world) flight(f func(int)) {
	if n := len(w.unit.flights); n > 0 {
		f(rapid.IntRange(0, n-1).Draw(w.t, "flight"))
	}
}

// respond answers a page request group, at times after mapping everything.
func (w *world) respond(success bool) {
	for index := range uint16(w.cfg.Pages) {
		p, ok := w.open[index]
		if !ok {
			continue
		}
		delete(w.open, index)
		code := uint8(emu.PRGInvalid)
		if s := w.spaces[p]; success || rapid.Bool().Draw(w.t, "success") {
			code = emu.PRGSuccess
			for i := range s.small {
				if s.large == 0 && s.small[i] == 0 {
					s.small[i] = w.frame(1)
				}
			}
		}
		w.dev.PRGResponse(answer(index, p, code))
		return
	}
}

func (w *world) connect() {
	w.source = NewQueue(64)
	var err error
	w.dev, err = NewEndpoint(w.unit, w.cfg, w.source, func(*timing.Completion, End) { w.ends++ })
	require.NoError(w.t, err)
}

// move goes on with a copy made of a checkpoint.
func (w *world) move() {
	var e emu.Encoder
	w.dev.Save(&e)
	w.connect()
	d := emu.NewDecoder(e.Bytes())
	require.NoError(w.t, w.dev.Restore(d))
	require.Zero(w.t, d.Left())
}

func TestEndpoint_UsesNothingThatWasInvalidated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			t: t, unit: &atsUnit{}, spaces: map[emu.PASID]*space{}, frames: 0x1000, dead: map[emu.PA]bool{},
			tags: map[uint8]*sentInv{}, arrived: map[uint8]*sentInv{}, open: map[uint16]emu.PASID{},
		}
		w.unit.table = w.answer
		for _, p := range worldPASIDs {
			w.spaces[p] = &space{}
		}
		w.cfg = EndpointConfig{
			Source: atsSource, Outstanding: rapid.IntRange(1, 9).Draw(t, "outstanding"),
			TLB:   iotlb.Geometry{Sets: rapid.IntRange(0, 1).Draw(t, "sets"), Ways: rapid.IntRange(1, 12).Draw(t, "ways")},
			Pages: rapid.IntRange(0, 4).Draw(t, "pages"), Global: rapid.Bool().Draw(t, "global"),
			Gather: uint64(rapid.IntRange(0, 1).Draw(t, "gather") * 50),
		}
		w.unit.room = rapid.IntRange(0, 6).Draw(t, "room")
		w.connect()
		steps := map[string]func(*rapid.T){
			"":        func(*rapid.T) { w.check() },
			"put":     func(*rapid.T) { w.put() },
			"put two": func(*rapid.T) { w.put(); w.put() },
			"serve":   func(*rapid.T) { w.flight(w.unit.serve) },
			"deliver": func(*rapid.T) { w.flight(w.unit.deliver) },
			"change":  func(*rapid.T) { w.change() },
			"arrive":  func(*rapid.T) { w.arrive() },
			"respond": func(*rapid.T) { w.respond(false) },
			"timer":   func(*rapid.T) { w.unit.timer() },
			"move":    func(*rapid.T) { w.move() },
		}
		for k, f := range steps {
			steps[k] = func(x *rapid.T) { w.t = x; f(x) }
		}
		t.Repeat(steps)
		w.t = t
		for range 10000 {
			if w.dev.Idle() && w.source.Len() == 0 {
				break
			}
			if len(w.unit.flights) > 0 {
				w.unit.deliver(0)
			} else if w.unit.timer(); len(w.open) > 0 {
				w.respond(true)
			}
			w.check()
		}
		require.Equal(t, w.puts, w.ends, "%+v", w.dev.lanes)
		require.True(t, w.dev.Idle())
		for _, p := range w.dev.pending {
			require.Zero(t, p.Count)
		}
		require.Len(t, w.arrived, 0)
	})
}
