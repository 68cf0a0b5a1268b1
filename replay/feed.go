package replay

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
)

const (
	// queueDepth is how many requests of a device the processor prepares ahead.
	queueDepth = 256
	// recentDepth is how many of its last requests a device repeats while it has no new ones.
	recentDepth = 256
)

// feed is where a DMA engine takes its requests from: those of the trace in order, and in a closed
// loop, while the processor has not got to the next ones, the last ones again as long as they are
// mapped. So every device keeps its requests in flight at all times.
type feed struct {
	queue  *device.Queue
	repeat bool
	avoid  *waiting // what an unmap waits for is not repeated
	recent []emu.Request
	next   int    // of recent, to be repeated
	oldest int    // of recent, to be replaced
	count  uint64 // requests repeated
}

func newFeed(repeat bool, avoid *waiting) *feed {
	return &feed{queue: device.NewQueue(queueDepth), repeat: repeat, avoid: avoid}
}

// put appends a request of the trace.
func (f *feed) put(q *emu.Request, at uint64) { f.queue.Put(q, at) }

// Next implements device.Source.
func (f *feed) Next(q *emu.Request) (uint64, bool) {
	at, ok := f.queue.Next(q)
	if ok {
		if f.repeat && (f.avoid.n == 0 || !f.avoid.holds(q)) {
			f.note(q)
		}
		return at, true
	}
	if !f.repeat || len(f.recent) == 0 {
		return 0, false
	}
	f.next = (f.next + 1) % len(f.recent)
	*q = f.recent[f.next]
	f.count++
	return 0, true
}

// note remembers a request that was issued.
func (f *feed) note(q *emu.Request) {
	if len(f.recent) < recentDepth {
		f.recent = append(f.recent, *q)
		return
	}
	f.oldest = (f.oldest + 1) % recentDepth
	f.recent[f.oldest] = *q
}

// forget stops repeating the requests that are in the way of an unmap.
func (f *feed) forget() {
	f.recent = slices.DeleteFunc(f.recent, func(q emu.Request) bool { return f.avoid.holds(&q) })
	f.next, f.oldest = 0, 0
}

// stop ends repeating until start.
func (f *feed) stop() {
	f.repeat = false
	f.recent = f.recent[:0]
}
