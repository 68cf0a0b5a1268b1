package smmuv3

import (
	"errors"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// queue is the command queue (3.5). An index has the wrap flag as its topmost bit.
type queue struct {
	d    *Driver
	base emu.PA
	lg2  uint8 // entries
	prod uint32
	busy bool // somebody waits, and sees to errors
}

const (
	minQueueLg2 = 4
	maxQueueLg2 = 8
	// maxBatch is how many invalidations go in one submission: with the SYNCs between them no more than half
	// of the smallest queue.
	maxBatch = 5
	// errorsEach is how many evaluations of a poll go by between two looks for errors: each is a register
	// access.
	errorsEach = 16
	// maxAborts is how often a command whose fetch was aborted is fetched again.
	maxAborts = 3
)

var errAgain = errors.New("an ATS invalidation timed out")

// startQueue puts a fresh command queue in the place of whatever there was, and turns it on. Commands
// work whether or not translation is on.
func (d *Driver) startQueue() error {
	q := &queue{d: d, lg2: uint8(min(spec.Idr1CMDQS.Of(d.caps.idr1), maxQueueLg2))}
	if err := d.disable(spec.Cr0CMDQEN.Mask()); err != nil {
		return err
	}
	var err error
	if q.base, err = d.c.Alloc(q.lg2 + 4); err != nil {
		return err
	}
	d.c.Write(spec.OffCMDQBase, 8, uint64(q.base)|spec.QBaseHint.Mask()|uint64(q.lg2))
	d.c.Write(spec.OffCMDQProd, 4, 0)
	d.c.Write(spec.OffCMDQCons, 4, 0)
	d.queue = q
	// An error of the queue before does not go away by itself (7.1).
	d.ackErrors(spec.GerrCMDQ.Mask())
	return d.enable(spec.Cr0CMDQEN.Mask())
}

// mask is what counts of an index.
func (q *queue) mask() uint32 { return 2<<q.lg2 - 1 }

// at is where the entry of an index lies.
func (q *queue) at(index uint32) emu.PA {
	return q.base + emu.PA(index&(1<<q.lg2-1))*spec.CommandSize
}

// cons is the index of the command that the unit has not consumed yet, and why it stopped last.
func (q *queue) cons() (index uint32, reason uint8) {
	v := q.d.c.Read(spec.OffCMDQCons, 4)
	return uint32(v) & q.mask(), uint8(spec.CmdqErr.Of(v))
}

// left is how many commands have not been consumed.
func (q *queue) left() uint32 {
	c, _ := q.cons()
	return (q.prod - c) & q.mask()
}

func (q *queue) put(index uint32, c command) {
	q.d.more.Commands++
	q.d.c.CPU.Store128(q.at(index), c[0], c[1])
	q.d.c.Flush(q.at(index), spec.CommandSize)
}

func (q *queue) get(index uint32) command {
	pa := q.at(index)
	return command{q.d.c.CPU.Load64(pa), q.d.c.CPU.Load64(pa + 8)}
}

// submit gives list to the unit and, with wait, returns when it is complete.
//
// Errors: CommandError, host.ErrDeviceTLB, host.ErrTimeout.
func (q *queue) submit(list []command, wait bool) error {
	for try := 1; ; try++ {
		err := q.once(list, wait)
		if !errors.Is(err, errAgain) {
			return err
		}
		if try > q.d.opt.Retries {
			return fmt.Errorf("smmuv3: unit %d, %d tries: %w: %w", q.d.opt.Unit, try, host.ErrDeviceTLB, host.ErrTimeout)
		}
		q.d.more.DeviceRetries++
	}
}

// once is submit without another try.
func (q *queue) once(list []command, wait bool) error {
	d := q.d
	n := uint32(len(list))
	if wait {
		n++
	}
	err := d.c.Poll("room in the command queue", func() bool { return 1<<q.lg2-q.left() >= n })
	if err != nil {
		return err
	}
	s := submission{q: q, first: q.prod, n: n}
	for i, c := range list {
		q.put(q.prod+uint32(i), c)
	}
	if wait {
		s.sync = q.prod + n - 1
		s.byMessage = d.caps.has0(spec.Idr0MSI) && d.c.Coherent && !d.opt.PollCons && d.wires == nil // a SYNC with CS=1 pulses
		s.wait = barrier()
		if s.byMessage {
			s.wait = message(q.at(s.sync))
		}
		q.put(s.sync, s.wait)
	}
	outer := q.busy
	q.busy = wait || outer
	defer func() { q.busy = outer }()
	q.prod = (q.prod + n) & q.mask()
	d.c.CPU.Fence()
	d.c.Write(spec.OffCMDQProd, 4, uint64(q.prod))
	if !wait {
		return nil
	}
	d.c.Count.Waits++
	return s.complete()
}

// submission is one batch under way.
type submission struct {
	q         *queue
	first, n  uint32
	sync      uint32 // index of the last SYNC
	wait      command
	byMessage bool
	refused   *CommandError
	again     bool
	aborts    int
}

// done reports whether the last SYNC is complete: it has written to its own entry, which the unit has
// consumed by then (4.6.3), or it is consumed.
func (s *submission) done() bool {
	q := s.q
	if s.byMessage {
		return uint32(q.d.c.CPU.Load64(q.at(s.sync))) == 0
	}
	c, _ := q.cons()
	return (c-s.sync-1)&q.mask() <= q.mask()/2
}

// complete waits for the last SYNC and sees to the errors that come instead.
func (s *submission) complete() error {
	d := s.q.d
	for {
		looks, stopped := 0, false
		err := d.c.Poll("command queue", func() bool {
			if s.done() {
				return true
			}
			stopped = looks%errorsEach == 0 && d.activeErrors()&spec.GerrCMDQ.Mask() != 0
			looks++
			return stopped
		})
		if err != nil {
			return err
		}
		if !stopped {
			break
		}
		if err := s.stopped(); err != nil {
			return err
		}
	}
	switch {
	case s.refused != nil:
		return s.refused
	case s.again:
		return errAgain
	}
	return nil
}

// stopped sees to an error of the queue (7.1) and lets it go on. It returns an error if it cannot.
func (s *submission) stopped() error {
	d, q := s.q.d, s.q
	d.more.CommandErrors++
	at, reason := q.cons()
	bad := &CommandError{Index: int((at - s.first) & q.mask()), Reason: reason, Command: q.get(at)}
	switch reason {
	case spec.CerrorATC:
		// The SYNC is tried again, and does not wait for what timed out any more.
		s.again = true
	case spec.CerrorABT:
		if s.aborts++; s.aborts > maxAborts {
			return fmt.Errorf("queue is stuck at entry %d: %w", at, bad)
		}
	default:
		if s.n > 0 && bad.Command == s.wait {
			return fmt.Errorf("queue is stuck at entry %d: %w", at, bad)
		}
		if s.refused == nil && uint32(bad.Index) < s.n {
			s.refused = bad // others have been given before, and nobody waits for them
		}
		q.put(at, barrier())
		d.c.CPU.Fence()
	}
	d.ackErrors(spec.GerrCMDQ.Mask())
	return nil
}

// omitWait reports whether waits are left out.
func (d *Driver) omitWait() bool { return d.c.Omit.Has(entry.OmitWait) }

// invalidate gives commands, in the order of their stages, to the unit and waits. It is the only way to
// the caches.
//
// Errors: CommandError, host.ErrDeviceTLB, host.ErrTimeout.
func (d *Driver) invalidate(how entry.Batching, list ...command) error {
	kept := make([]command, 0, len(list))
	for _, c := range list {
		if o := c.omit(); o == 0 || d.c.Omit&o == 0 {
			kept = append(kept, c)
		}
	}
	d.c.Count.Invalidations += uint64(len(kept))
	size := maxBatch
	if how == entry.WaitEach {
		size = 1
	}
	for len(kept) > 0 {
		n := min(size, len(kept))
		batch := make([]command, 0, 2*n)
		for i, c := range kept[:n] {
			if i > 0 && kept[i-1].stage() != c.stage() {
				batch = append(batch, barrier())
			}
			batch = append(batch, c)
		}
		if err := d.queue.submit(batch, !d.omitWait()); err != nil {
			return err
		}
		kept = kept[n:]
	}
	return nil
}
