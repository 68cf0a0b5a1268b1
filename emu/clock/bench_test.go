package clock

import (
	stdheap "container/heap"
	"testing"
)

// delays are the latencies that pushes look ahead, in turn.
func delays(far bool) (d [1024]uint64) {
	s := NewStream(1, "bench")
	for i := range d {
		d[i] = s.Uint64N(500)
		if far && i%8 == 0 {
			d[i] = 10_000 + s.Uint64N(100_000)
		}
	}
	return d
}

func BenchmarkWheel(b *testing.B) {
	for _, c := range []struct {
		name    string
		pending int
		far     bool
	}{{"1", 1, false}, {"64", 64, false}, {"1024", 1024, false}, {"64far", 64, true}} {
		b.Run(c.name, func(b *testing.B) {
			var w Wheel
			d := delays(c.far)
			for i := range c.pending {
				w.Push(Event{Time: d[i]})
			}
			i := 0
			b.ReportAllocs()
			var e Event
			for b.Loop() {
				w.Pop(&e)
				e.Time += d[i%1024]
				w.Push(e)
				i++
			}
		})
	}
}

type stdEvents []Event

func (s stdEvents) Len() int           { return len(s) }
func (s stdEvents) Less(i, j int) bool { return s[i].Time < s[j].Time }
func (s stdEvents) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *stdEvents) Push(x any)        { *s = append(*s, x.(Event)) }
func (s *stdEvents) Pop() any {
	o := *s
	e := o[len(o)-1]
	*s = o[:len(o)-1]
	return e
}

// BenchmarkContainerHeap is the baseline that the wheel replaces.
func BenchmarkContainerHeap(b *testing.B) {
	var h stdEvents
	d := delays(false)
	for i := range 64 {
		stdheap.Push(&h, Event{Time: d[i]})
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		e := stdheap.Pop(&h).(Event)
		e.Time += d[i%1024]
		stdheap.Push(&h, e)
		i++
	}
}
