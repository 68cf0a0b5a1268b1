package bench

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/clock"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/iotlb"
	"github.com/iommulab/iommulab/iotlb/iotlbtest"
)

// timedRig is a rig whose unit moves to a timed machine once it is programmed, with one device that
// keeps 32 requests in flight.
type timedRig struct {
	m      *timing.Machine
	player *device.Player
	left   int
}

func (r *rig) timed(tb testing.TB, n uint64, stream []uint64) *timedRig {
	p, err := timing.LoadPreset("default")
	require.NoError(tb, err)
	t := &timedRig{m: timing.New(p.Params, r.mem)}
	t.m.AddUnit(r.unit, 64)
	reqs := r.requests(n)
	i := 0
	source := device.Func(func(q *emu.Request) (uint64, bool) {
		if t.left == 0 {
			return 0, false
		}
		t.left--
		*q = reqs[stream[i&(stride-1)]]
		i++
		return 0, true
	})
	t.player = device.NewPlayer(t.m, device.Config{Outstanding: 32}, source, func(c *timing.Completion) {
		if c.Result.Status != emu.OK {
			panic("bench: request blocked")
		}
		sink += uint64(c.Result.PA)
	})
	return t
}

func (t *timedRig) run(n int) {
	t.left = n
	t.player.Kick()
	for t.m.Step() {
	}
}

// events pushes and pops n events with 64 pending.
func events(w *clock.Wheel, n int) {
	var e clock.Event
	for i := range n {
		w.Push(clock.Event{Time: w.Now() + uint64(1+i*7&127)})
		if w.Len() > 64 {
			w.Pop(&e)
			sink += e.Time
		}
	}
}

// benchmarkTimedHit is a hit on the timed machine against one event pushed and popped and one bare
// look-up.
func (r *rig) benchmarkTimedHit(b *testing.B, g iotlb.Geometry) {
	n := uint64(g.Entries())
	bare := iotlbtest.NewBare(g.Sets, g.Ways)
	stream := iotlbtest.Stream(stride, n, 1)
	t := r.timed(b, n, stream)
	for p := range n {
		bare.Fill(p, p)
	}
	var w clock.Wheel
	compare(b, 1<<16,
		func(n int) {
			events(&w, n)
			for i := range n {
				v, _ := bare.Lookup(stream[i&(stride-1)])
				sink += v
			}
		}, t.run)
}

// benchmarkTimedWalk is a walk on the timed machine against ten events and a hand-written dependent walk.
func (r *rig) benchmarkTimedWalk(b *testing.B) {
	stream := iotlbtest.Stream(stride, pages, 2)
	addrs := r.addrs(stream)
	t := r.timed(b, pages, stream)
	var w clock.Wheel
	compare(b, 1<<14,
		func(n int) {
			events(&w, 10*n)
			for i := range n {
				pa, _ := r.byHand(addrs[i&(stride-1)] ^ sink&0xfff)
				sink = uint64(pa)
			}
		}, t.run)
}
