package vtd

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// queue is the invalidation queue (6.5.2).
type queue struct {
	d      *Driver
	base   emu.PA
	lg2    uint8 // log2 size of the queue in bytes
	size   int   // bytes of a descriptor: 16 or 32
	n      int   // descriptors that it holds
	tail   int   // where the next one goes
	status emu.PA
	seq    uint32 // of the last wait
	extra  uint64 // what waits have besides: PD, while a drain runs
}

// queueEntries is the length of the queue. Scalable mode needs descriptors of 256 bits.
const queueEntries = 256

// maxBatch is how many invalidations go in one submission.
const maxBatch = 16

var errAgain = errors.New("aborted by a time-out")

// startQueue takes the queue over from whoever had it and turns it on.
func (d *Driver) startQueue() error {
	q := &queue{d: d, size: spec.DescSize128, n: queueEntries, lg2: 12}
	if d.scalable {
		q.size, q.lg2 = spec.DescSize256, 13
	}
	if spec.GstsQIES.On(d.k.Read(spec.OffGSTS, 4)) {
		if err := d.stopQueue(); err != nil {
			return err
		}
	}
	var err error
	if q.base, err = d.k.Alloc(q.lg2); err != nil {
		return err
	}
	if q.status, err = d.k.Alloc(emu.PageShift); err != nil {
		return err
	}
	d.k.Write(spec.OffIQT, 8, 0)
	d.k.Write(spec.OffIQA, 8, uint64(q.base)|spec.IqaDW.PutBool(d.scalable)|spec.IqaQS.Put(uint64(q.lg2-12)))
	d.queue = q
	return d.level("QIE", spec.GcmdQIE, true)
}

// stopQueue waits for the queue to run empty and turns it off (6.5.2).
func (d *Driver) stopQueue() error {
	err := d.k.Poll("queue to run empty", func() bool {
		return d.k.Read(spec.OffIQH, 8)&spec.IqhQH.Mask() == d.k.Read(spec.OffIQT, 8)&spec.IqtQT.Mask()
	})
	if err != nil && !errors.Is(err, host.ErrTimeout) {
		return err
	}
	return d.level("QIE", spec.GcmdQIE, false) // also if it is stuck
}

// head is the index of the descriptor that hardware fetches next.
func (q *queue) head() int {
	return int(q.d.k.Read(spec.OffIQH, 8)&spec.IqhQH.Mask()) / q.size % q.n
}

// put writes a descriptor at index i.
func (q *queue) put(i int, w desc) {
	q.d.count.Descriptors++
	pa := q.base + emu.PA(i*q.size)
	q.d.k.CPU.Store128(pa, w[0], w[1])
	if q.size == spec.DescSize256 {
		q.d.k.CPU.Store128(pa+16, 0, 0)
	}
}

// get reads the descriptor at index i.
func (q *queue) get(i int) desc {
	pa := q.base + emu.PA(i*q.size)
	return desc{q.d.k.CPU.Load64(pa), q.d.k.CPU.Load64(pa + 8)}
}

// room waits until n descriptors fit. It returns at once unless waits are left out.
func (q *queue) room(n int) error {
	return q.d.k.Poll("room in the queue", func() bool {
		return q.n-1-(q.tail-q.head()+q.n)%q.n >= n
	})
}

// submit gives list to hardware and, with wait, returns when it is complete.
//
// Errors: QueueError, driver.DeviceTimeout, host.ErrTimeout.
func (q *queue) submit(list []desc, wait bool) error {
	for try := 1; ; try++ {
		err := q.once(list, wait)
		if !errors.Is(err, errAgain) {
			return err
		}
		sid := emu.SourceID(spec.IqercdITESID.Of(q.d.k.Read(spec.OffIQERCD, 8)))
		if try > q.d.opt.Retries {
			return &driver.DeviceTimeout{Driver: "vtd", Source: sid, Tries: try}
		}
		q.d.count.DeviceRetries++
	}
}

// drain is submit with a wait that also waits for page requests that are under way (PD).
func (q *queue) drain(list []desc) error {
	q.extra = spec.IwPD.Mask()
	defer func() { q.extra = 0 }()
	return q.submit(list, true)
}

// once is submit without another try.
func (q *queue) once(list []desc, wait bool) error {
	d := q.d
	n := len(list)
	if wait {
		n++
	}
	if d.omitWait() {
		if err := q.room(n); err != nil {
			return err
		}
	}
	first := q.tail
	for i, w := range list {
		q.put((first+i)%q.n, w)
	}
	s := submission{q: q, first: first, n: n}
	if wait {
		q.seq++
		s.data = q.seq
		at := (first + n - 1) % q.n
		s.status = q.status + emu.PA(at*8)
		s.wait = waitDesc(s.status, s.data)
		s.wait[0] |= q.extra
		d.k.CPU.Store64(s.status, uint64(^s.data))
		q.put(at, s.wait)
	}
	q.tail = (first + n) % q.n
	d.k.CPU.Fence()
	d.k.Write(spec.OffIQT, 8, uint64(q.tail*q.size))
	if !wait {
		return nil
	}
	d.k.Count.Waits++
	return s.complete()
}

// submission is one batch under way.
type submission struct {
	q        *queue
	first, n int
	status   emu.PA
	data     uint32
	wait     desc
	refused  *QueueError
}

// done reports whether the wait has been answered.
func (s *submission) done() bool { return uint32(s.q.d.k.CPU.Load64(s.status)) == s.data }

const queueFaults = 1<<4 | 1<<5 | 1<<6 // IQE, ICE, ITE

// complete waits for the answer and sees to the errors that come instead.
func (s *submission) complete() error {
	d := s.q.d
	for {
		var fsts uint64
		err := d.k.Poll("invalidation wait", func() bool {
			if s.done() {
				return true
			}
			fsts = d.k.Read(spec.OffFSTS, 4) & queueFaults
			return fsts != 0
		})
		switch {
		case err != nil:
			return err
		case fsts == 0 || s.done():
			if s.refused != nil {
				return s.refused
			}
			return nil
		}
		if err := s.fault(fsts); err != nil {
			return err
		}
	}
}

// fault deals with an error of the queue. It returns nil to go on waiting.
func (s *submission) fault(fsts uint64) error {
	d := s.q.d
	// A fault that came while these bits were set has raised no interrupt of its own.
	defer d.takeFaults()
	switch {
	case spec.FstsIQE.On(fsts):
		return s.stopped()
	case spec.FstsITE.On(fsts):
		// All waits that were pending are dead: everything has to be given again.
		d.k.Write(spec.OffFSTS, 4, spec.FstsITE.Mask()|fsts&spec.FstsICE.Mask())
		if s.done() {
			return nil
		}
		return errAgain
	}
	d.k.Write(spec.OffFSTS, 4, spec.FstsICE.Mask())
	return nil
}

// stopped puts the submission's wait in the place of a descriptor that hardware refused, and lets it
// go on.
func (s *submission) stopped() error {
	d, q := s.q.d, s.q
	d.count.QueueErrors++
	head := q.head()
	bad := &QueueError{
		Index: (head - s.first + q.n) % q.n,
		IQEI:  uint8(spec.IqercdIQEI.Of(d.k.Read(spec.OffIQERCD, 8))),
		Desc:  q.get(head),
	}
	if bad.Index >= s.n || bad.Desc == s.wait {
		return fmt.Errorf("queue is stuck at entry %d: %w", head, bad)
	}
	if s.refused == nil {
		s.refused = bad
	}
	q.put(head, s.wait)
	d.k.CPU.Fence()
	d.k.Write(spec.OffFSTS, 4, spec.FstsIQE.Mask())
	return nil
}
