package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// queue is one of the queues in memory, 3.5: where its registers are and how large it may be. An index has
// as many bits as the queue's size says, and above them a flag that changes whenever it wraps.
type queue struct {
	base, prod, cons int // registers
	size             uint64
	most             func(c *Config) uint8 // log2 of its entries
}

var (
	cmdq   = queue{rCmdqBase, rCmdqProd, rCmdqCons, spec.CommandSize, func(c *Config) uint8 { return c.CMDQS }}
	eventq = queue{rEventqBase, rEventqProd, rEventqCons, spec.EventSize, func(c *Config) uint8 { return c.EVENTQS }}
	priq   = queue{rPriqBase, rPriqProd, rPriqCons, spec.PRISize, func(c *Config) uint8 { return c.PRIQS }}
)

// log2 returns log2 of the entries of a queue.
func (u *Unit) log2(q *queue) uint8 {
	return min(uint8(spec.QBaseLog2.Of(u.reg.Get(q.base))), q.most(&u.cfg))
}

// indexes returns the indexes of a queue with their wrap flags.
func (u *Unit) indexes(q *queue) (prod, cons uint64) {
	m := ones(u.log2(q) + 1)
	return u.reg.Get(q.prod) & m, u.reg.Get(q.cons) & m
}

func (u *Unit) empty(q *queue) bool {
	prod, cons := u.indexes(q)
	return prod == cons
}

// full reports whether the indexes are equal and the flags differ.
func (u *Unit) full(q *queue) bool {
	prod, cons := u.indexes(q)
	return prod^cons == 1<<u.log2(q)
}

// entry returns the address of the entry of an index. The base is aligned to the size of the queue.
func (u *Unit) entry(q *queue, index uint64) emu.PA {
	lg2 := u.log2(q)
	size := max(q.size<<lg2, 32)
	base := u.reg.Get(q.base) & spec.QBaseAddr.Mask() &^ (size - 1)
	return emu.PA(base + index&ones(lg2)*q.size)
}

// advance moves an index by one and leaves the rest of its register alone.
func (u *Unit) advance(q *queue, index int) {
	m := ones(u.log2(q) + 1)
	v := u.reg.Get(index)
	u.reg.Set(index, v&^m|(v+1)&m)
}

// indexMask returns the bits that an index register of a queue holds, besides flags.
func (u *Unit) indexMask(q *queue) uint64 { return ones(u.log2(q) + 1) }

// overflow reports whether an overflow of a queue is pending: not acknowledged by software.
func (u *Unit) overflow(q *queue) bool {
	return spec.QOverflow.On(u.reg.Get(q.prod) ^ u.reg.Get(q.cons))
}

// ring is a queue that the unit writes.
type ring struct {
	*queue
	on       reg.Bits // of CR0
	abt      reg.Bits // of GERROR
	msg      uint8
	overflow bool // a pending overflow keeps entries out
	step     emu.Step
}

// The rings, by recKind.
const (
	ringEvents = iota
	ringPRI
	numRings
)

var rings = [numRings]ring{
	ringEvents: {queue: &eventq, on: spec.Cr0EVENTQEN, abt: spec.GerrEVENTQAbt, msg: msgEVENTQ, step: StepEventWrite},
	ringPRI:    {queue: &priq, on: spec.Cr0PRIQEN, abt: spec.GerrPRIQAbt, msg: msgPRIQ, overflow: true, step: StepPRIWrite},
}

// ringOn reports whether a ring is enabled; the PRI queue needs SMMUEN too (6.3.9).
func (u *Unit) ringOn(r *ring) bool {
	return r.on.On(u.ack) && (r.queue != &priq || u.on) && !u.errorActive(r.abt)
}
