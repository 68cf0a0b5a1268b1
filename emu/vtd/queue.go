package vtd

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// The invalidation queue, 6.5.2. Descriptors are executed one after the other, in order; a fence
// (FN) therefore holds by itself. Device-TLB invalidations are sent and go on by themselves until
// the next wait (see ats.go). IQH moves on when a descriptor was fetched and found valid.

// queueDoorbell wakes the engine if the queue is on.
func (u *Unit) queueDoorbell() emu.Wake {
	if !u.status(spec.GstsQIES) {
		return 0
	}
	return EngineQueue.Set()
}

// descSize returns the size of descriptors that IQA.DW asks for.
func (u *Unit) descSize() uint8 {
	if spec.IqaDW.On(u.reg.Get(rIQA)) {
		return spec.DescSize256
	}
	return spec.DescSize128
}

// queueNext fetches the descriptor at IQH, or stops.
func (u *Unit) queueNext(t *emu.Txn) {
	head, tail := u.reg.Get(rIQH), u.reg.Get(rIQT)
	if u.s.TimedOut && head == u.s.TimeoutEnd {
		u.timeoutError(t)
		return
	}
	stopped := !u.status(spec.GstsQIES) || u.s.QueueStop || u.fsts(spec.FstsIQE) || u.fsts(spec.FstsITE)
	if stopped || head == tail {
		u.queueEnd(t)
		return
	}
	iqa := u.reg.Get(rIQA)
	if e := u.queueState(iqa, tail); e != spec.IQEINone {
		u.queueError(t, e)
		return
	}
	size := u.descSize()
	t.Fetch(emu.PA(iqa&spec.IqaIQA.Mask()+head), size, StepQueueFetch, stQueueFetched)
}

// queueState returns what is wrong with the queue as programmed, 6.5.2.11.
func (u *Unit) queueState(iqa, tail uint64) uint64 {
	wide := spec.IqaDW.On(iqa)
	switch {
	case wide && !u.cfg.SMTS && !u.cfg.ADMS, !wide && u.validTTM() && u.ttm() != spec.TTMLegacy:
		return spec.IQEIWidth
	case wide && tail%spec.DescSize256 != 0:
		return spec.IQEITailAlign
	case tail >= u.queueBytes(iqa):
		return spec.IQEITail
	case !u.validTTM():
		return spec.IQEITTM
	}
	return spec.IQEINone
}

func (u *Unit) queueBytes(iqa uint64) uint64 { return emu.PageSize << spec.IqaQS.Of(iqa) }

// queueFetched takes the descriptor; decoding it takes time.
func (u *Unit) queueFetched(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.queueError(t, spec.IQEIFetch)
		return
	}
	t.Entry = [8]uint64{t.In[0], t.In[1]}
	if t.Act.Size == spec.DescSize256 {
		t.Entry[2], t.Entry[3] = t.In[2], t.In[3]
	}
	t.Delay(emu.DelayQueue, StepQueueDecode, stQueueDecoded)
}

// queueDecoded checks the descriptor, moves IQH behind it and executes it.
func (u *Unit) queueDecoded(t *emu.Txn) {
	w := &t.Entry
	d := &u.desc[spec.DescType(w[0])]
	size := uint64(t.Act.Size)
	switch {
	case d.begin == nil, d.wide && (size != spec.DescSize256 || u.ttm() == spec.TTMLegacy): // table 26
		u.queueError(t, spec.IQEIType)
		return
	case w[0]&d.rsvd[0]|w[1]&d.rsvd[1]|w[2]|w[3] != 0, d.legal != nil && !d.legal(u, w):
		u.queueError(t, spec.IQEIReserved)
		return
	}
	head := u.reg.Get(rIQH) + size
	if head >= u.queueBytes(u.reg.Get(rIQA)) {
		head = 0
	}
	u.reg.Set(rIQH, head)
	d.begin(u, t)
}

// queueSecond does the second half of an invalidation that needs two selectors.
func (u *Unit) queueSecond(t *emu.Txn) {
	d := &u.desc[spec.DescType(t.Entry[0])]
	if d.second == nil || !d.second(u, &t.Act.Sel, &t.Entry) {
		u.queueNext(t)
		return
	}
	t.Invalidate(StepQueueInvalidate, stQueueNext)
}

// timeoutError sets ITE and stops.
func (u *Unit) timeoutError(t *emu.Txn) {
	t.Wake |= u.timeoutStatus()
	u.queueEnd(t)
}

// timeoutStatus sets ITE and names the device.
func (u *Unit) timeoutStatus() emu.Wake {
	u.s.TimedOut = false
	if !u.fsts(spec.FstsITE) {
		v := u.reg.Get(rIQERCD) &^ spec.IqercdITESID.Mask()
		u.reg.Set(rIQERCD, v|spec.IqercdITESID.Put(uint64(u.s.TimeoutSID)))
	}
	return u.faultStatus(spec.FstsITE)
}

// queueError sets IQE and stops. IQH stays at the descriptor concerned.
func (u *Unit) queueError(t *emu.Txn, iqei uint64) {
	v := u.reg.Get(rIQERCD) &^ spec.IqercdIQEI.Mask()
	u.reg.Set(rIQERCD, v|spec.IqercdIQEI.Put(iqei))
	t.Wake |= u.faultStatus(spec.FstsIQE)
	if u.s.TimedOut {
		t.Wake |= u.timeoutStatus()
	}
	u.queueEnd(t)
}

// queueEnd stops the engine until the next doorbell.
func (u *Unit) queueEnd(t *emu.Txn) {
	u.s.QueueBusy = false
	if u.s.QueueStop {
		t.Wake |= EngineCommand.Set()
	}
	t.Done(StepQueueStop)
}

// descWait executes a wait descriptor, 6.5.2.9: everything before it is complete once the devices
// have answered and what was marked in flight has ended. With PD so have the page requests received
// up to then (7.7), which the answers of devices have pushed ahead of them.
func (u *Unit) descWait(t *emu.Txn) {
	switch {
	case u.s.TimedOut && spec.IwFN.On(t.Entry[0]): // aborted for good
		u.timeoutError(t)
	case u.s.TimedOut:
		u.queueNext(t)
	case u.outstanding(anyDevice) > 0:
		u.queueWait(t)
	case spec.IwPD.On(t.Entry[0]):
		t.Act.Sel = emu.Selector{Match: emu.MatchType, Type: emu.PageRequest}
		t.Invalidate(StepPageDrain, stWaitMarked)
	default:
		u.waitMarked(t)
	}
}

func (u *Unit) waitMarked(t *emu.Txn) { t.Drain(StepWaitDrain, stWaitDrained) }

// queueWait parks the engine until a device-TLB invalidation ends, and tries the descriptor again.
func (u *Unit) queueWait(t *emu.Txn) {
	u.s.QueueWaits = true
	t.Park(StepQueueDevTLB, stQueueAgain)
}

func (u *Unit) queueAgain(t *emu.Txn) {
	u.s.QueueWaits = false
	u.desc[spec.DescType(t.Entry[0])].begin(u, t)
}

func (u *Unit) waitDrained(t *emu.Txn) {
	w := t.Entry[0]
	if !spec.IwSW.On(w) {
		u.waitWritten(t)
		return
	}
	a := &t.Act
	a.Op, a.Size, a.Step = emu.OpStore, 4, StepWaitStatus
	a.Addr = emu.PA(t.Entry[1] &^ 3)
	a.Data = [4]uint64{spec.IwDATA.Of(w)}
	t.State = stWaitWritten
}

// waitWritten signals completion after the status write. A write that failed on the bus is lost.
func (u *Unit) waitWritten(t *emu.Txn) {
	if spec.IwIF.On(t.Entry[0]) && !spec.IcsIWC.On(u.reg.Get(rICS)) {
		u.reg.SetBits(rICS, spec.IcsIWC.Mask())
		t.Wake |= u.eventCondition(&iqEvent)
	}
	u.queueNext(t)
}
