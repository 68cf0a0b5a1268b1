package amdvi

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// ring is the command buffer (2.4).
type ring struct {
	d      *Driver
	base   emu.PA
	tail   int    // where the next command goes
	status emu.PA // that COMPLETION_WAIT stores to
	seq    uint64 // of the last wait

	halted  bool           // hardware has reported a command that it stopped at
	halt    [2]uint64      // that event
	expired []emu.SourceID // devices that did not answer in time, since the submission began
}

// The command buffer has 512 entries, as that of Linux 7.3.
const (
	ringLen     = 9 // spec.RingLen
	ringEntries = 1 << ringLen
	ringLg2     = 13 // log2 of bytes
)

// patience is how many cycles of the processor a wait goes on before the event log is looked at.
const patience = 50_000

// maxBatch is how many invalidations go in one submission.
const maxBatch = 64

var errAgain = errors.New("not answered by a device")

// makeRing allocates the buffer.
func (d *Driver) makeRing() (err error) {
	r := &ring{d: d}
	if r.base, err = d.k.Alloc(ringLg2); err != nil {
		return err
	}
	if r.status, err = d.k.Alloc(emu.PageShift); err != nil {
		return err
	}
	d.ring = r
	return nil
}

// put writes a command at index i.
func (r *ring) put(i int, c command) {
	r.d.count.Commands++
	r.d.k.CPU.Store128(r.at(i), c[0], c[1])
}

func (r *ring) at(i int) emu.PA { return r.base + emu.PA(i%ringEntries*spec.CommandSize) }

// get reads the command at index i.
func (r *ring) get(i int) command {
	return command{r.d.k.CPU.Load64(r.at(i)), r.d.k.CPU.Load64(r.at(i) + 8)}
}

// head is the index of the command that hardware fetches next.
func (r *ring) head() int {
	return int(r.d.k.Read(spec.OffCmdHead, 4)&spec.RingPtr.Mask()) / spec.CommandSize % ringEntries
}

// room waits until n commands fit. It returns at once unless waits are left out.
func (r *ring) room(n int) error {
	return r.d.k.Poll("room in the command buffer", func() bool {
		return ringEntries-1-(r.tail-r.head()+ringEntries)%ringEntries >= n
	})
}

// invalidate gives ops, in order, to hardware and waits. It is the only way to the caches. Before IommuEn
// there is nothing in them, and no command runs.
//
// Errors: CommandError, driver.DeviceTimeout, host.ErrTimeout.
func (d *Driver) invalidate(how entry.Batching, ops ...op) error {
	if !d.running {
		return nil
	}
	kept := make([]op, 0, len(ops))
	for _, o := range ops {
		if o.kept(d.k.Omit) {
			kept = append(kept, o)
		}
	}
	ops = kept
	d.k.Count.Invalidations += uint64(len(ops))
	size := maxBatch
	if how == entry.WaitEach {
		size = 1
	}
	for len(ops) > 0 {
		n := min(size, len(ops))
		list := make([]command, 0, n+2)
		devices := false
		for i := range n {
			if i > 0 && ops[i-1].early() && !ops[i].early() {
				list = append(list, fenceCommand())
			}
			devices = devices || ops[i].code == spec.CmdInvalidateIOTLB
			list = append(list, ops[i].encode())
		}
		if err := d.ring.submit(list, devices); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// submit gives list to hardware and returns when it is complete; with devices, when the devices have
// answered.
func (r *ring) submit(list []command, devices bool) error {
	d := r.d
	wait := !d.k.Omit.Has(entry.OmitWait)
	for try := 1; ; try++ {
		err := r.once(list, wait)
		if err == nil && devices && wait {
			d.attend() // a time-out is in the log before the wait ends
			if len(r.expired) > 0 {
				err = errAgain
			}
		}
		if !errors.Is(err, errAgain) {
			return err
		}
		if try > d.opt.Retries {
			return &driver.DeviceTimeout{Driver: "amdvi", Source: r.expired[0], Tries: try}
		}
		d.count.DeviceRetries++
	}
}

// once is submit without another try.
func (r *ring) once(list []command, wait bool) error {
	d := r.d
	n := len(list)
	if wait {
		n++
	} else if err := r.room(n); err != nil {
		return err
	}
	first := r.tail
	for i, c := range list {
		r.put(first+i, c)
	}
	if wait {
		r.seq++
		r.put(first+n-1, waitCommand(r.status, r.seq))
	}
	r.expired = nil
	r.tail = (first + n) % ringEntries
	d.k.CPU.Fence()
	d.k.Write(spec.OffCmdTail, 4, uint64(r.tail*spec.CommandSize))
	if !wait {
		return nil
	}
	d.k.Count.Waits++
	return r.complete(first, n)
}

func (r *ring) done() bool { return r.d.k.CPU.Load64(r.status) == r.seq }

// complete waits for the store and sees to the errors that come instead: hardware stops at a command, and
// an event says so. Without the event, or its interrupt, the status register does.
func (r *ring) complete(first, n int) error {
	d := r.d
	var refused *CommandError
	for {
		ended := func() bool { return r.done() || r.halted }
		if !d.k.CPU.Poll(ended, patience) {
			d.attend() // what an interrupt has left may tell of this buffer
		}
		err := d.k.Poll("COMPLETION_WAIT", ended)
		if err != nil && errors.Is(err, host.ErrTimeout) {
			d.attend()
			if !r.halted && spec.StsCmdBufRun.On(d.k.Read(spec.OffStatus, 8)) {
				return err
			}
		}
		if r.done() && !r.halted {
			if refused != nil {
				return refused
			}
			return nil
		}
		bad, err := r.restart(first, n)
		if refused == nil {
			refused = bad
		}
		if err != nil {
			return err
		}
	}
}

// restart replaces the command that hardware has stopped at by one that does nothing, and lets the buffer
// run on. There is no way on from a command that could not be read, nor from the wait itself.
func (r *ring) restart(first, n int) (*CommandError, error) {
	d := r.d
	head := r.head()
	bad := &CommandError{Index: (head - first + ringEntries) % ringEntries, Event: uint8(spec.EvtCode.Of(r.halt[0])), Command: r.get(head)}
	if bad.Index >= n {
		bad.Index = -1
	}
	d.count.CommandErrors++
	r.halted, r.halt = false, [2]uint64{}
	if bad.Index == -1 || bad.Index == n-1 || bad.Event == spec.EventCommandHW {
		return bad, bad
	}
	r.put(head, idleCommand())
	d.k.CPU.Fence()
	d.control(spec.CtlCmdBufEn, 0)
	d.control(spec.CtlCmdBufEn, 1)
	return bad, nil
}
