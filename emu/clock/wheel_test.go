package clock

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

// model is the queue in its simplest form: a stable sort by (time, prio).
type model []Event

func (m *model) push(e Event) {
	*m = append(*m, e)
	slices.SortStableFunc(*m, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.Prio, b.Prio))
	})
}

func (m *model) pop() (Event, bool) {
	if len(*m) == 0 {
		return Event{}, false
	}
	e := (*m)[0]
	*m = (*m)[1:]
	return e, true
}

func pop(w *Wheel) (e Event, ok bool) {
	ok = w.Pop(&e)
	return e, ok
}

func TestWheelMatchesSortedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := new(Wheel)
		var m model
		now, id := uint64(0), uint32(0)
		delta := rapid.OneOf(
			rapid.Uint64Range(0, 3),
			rapid.Uint64Range(0, 200),
			rapid.Uint64Range(wheelSlots-2, wheelSlots+2),
			rapid.Uint64Range(0, 5*wheelSlots),
			rapid.Uint64Range(0, 1<<40),
		)
		for range rapid.IntRange(1, 300).Draw(t, "n") {
			switch op := rapid.IntRange(0, 9).Draw(t, "op"); {
			case op < 5:
				id++
				e := Event{Time: now + delta.Draw(t, "delta"), Prio: uint8(rapid.IntRange(0, 3).Draw(t, "prio")), Kind: uint8(id), A: id, B: ^id}
				w.Push(e)
				m.push(e)
			case op < 9:
				want, ok := m.pop()
				got, gotOK := pop(w)
				require.Equal(t, ok, gotOK)
				require.Equal(t, want, got)
				if ok {
					now = want.Time
				}
			case rapid.Bool().Draw(t, "save"):
				var e emu.Encoder
				w.Save(&e)
				w = new(Wheel)
				require.NoError(t, w.Restore(emu.NewDecoder(e.Bytes())))
			default:
				to := now + delta.Draw(t, "advance")
				if len(m) != 0 {
					to = min(to, m[0].Time)
				}
				w.Advance(to)
				now = to
			}
			require.Equal(t, len(m), w.Len())
			require.Equal(t, now, w.Now())
			next, ok := w.NextTime()
			require.Equal(t, len(m) != 0, ok)
			if ok {
				require.Equal(t, m[0].Time, next)
			}
		}
		for len(m) != 0 {
			want, _ := m.pop()
			got, _ := pop(w)
			require.Equal(t, want, got)
		}
	})
}

func TestTiesComeByPriorityThenOrderOfPush(t *testing.T) {
	for _, at := range []uint64{5, wheelSlots + 5, math.MaxUint64} {
		var w Wheel
		for i, p := range []uint8{3, 1, 2, 1, 255, 0, 3} {
			w.Push(Event{Time: at, Prio: p, A: uint32(i)})
		}
		var got []uint32
		for e, ok := pop(&w); ok; e, ok = pop(&w) {
			got = append(got, e.A)
		}
		require.Equal(t, []uint32{5, 1, 3, 2, 0, 6, 4}, got)
	}
}

func TestFarEventsKeepTheirPlaceAmongNearOnes(t *testing.T) {
	var w Wheel
	w.Push(Event{Time: 10_000, A: 1})
	w.Push(Event{Time: 9_000, A: 0})
	pop(&w)
	w.Push(Event{Time: 10_000, A: 2}) // now near, pushed later
	a, _ := pop(&w)
	b, _ := pop(&w)
	require.Equal(t, []uint32{1, 2}, []uint32{a.A, b.A})
}

func TestPushIntoThePastPanics(t *testing.T) {
	var w Wheel
	w.Push(Event{Time: 9})
	pop(&w)
	w.Push(Event{Time: 9})
	require.PanicsWithValue(t, "clock: an event at 8 cannot be pushed when it is 9", func() { w.Push(Event{Time: 8}) })
	w.Push(Event{Time: 12})
	pop(&w)
	require.Panics(t, func() { w.Advance(13) })
}

func TestResetEmpties(t *testing.T) {
	var w Wheel
	for i := range uint64(100) {
		w.Push(Event{Time: i * 100})
	}
	w.Reset()
	_, ok := pop(&w)
	require.False(t, ok)
	w.Push(Event{Time: 3, A: 7})
	e, _ := pop(&w)
	require.Equal(t, Event{Time: 3, A: 7}, e)
}

func TestRestoreOfDamageIsAnError(t *testing.T) {
	var w Wheel
	w.Push(Event{Time: 3})
	w.Push(Event{Time: 1 << 30})
	var e emu.Encoder
	w.Save(&e)
	for n := range len(e.Bytes()) {
		var o Wheel
		require.ErrorIs(t, o.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState)
		require.Zero(t, o.Len())
	}
	// Events out of order.
	var bad emu.Encoder
	bad.Section("wheel", 1)
	bad.U64(0)
	bad.U64(2)
	(&Event{Time: 2}).save(&bad)
	(&Event{Time: 1}).save(&bad)
	require.ErrorContains(t, new(Wheel).Restore(emu.NewDecoder(bad.Bytes())), "event at 1 behind one at 2")
}

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var w Wheel
	s := NewStream(1, "test")
	for range 256 {
		w.Push(Event{Time: s.Uint64N(20_000)})
	}
	require.Zero(t, testing.AllocsPerRun(10_000, func() {
		var e Event
		w.Pop(&e)
		e.Time += s.Uint64N(20_000)
		w.Push(e)
		w.NextTime()
	}))
}
