package conform

import (
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// recover does what a driver does after an error of the queue: it puts something harmless in place of
// the descriptor, clears the error and rings again.
func (g *vtdGen) recover() {
	q := &g.queue
	g.read(spec.OffFSTS, 4, "FSTS_REG")
	g.read(spec.OffIQH, 8, "IQH_REG")
	g.read(spec.OffIQERCD, 8, "IQERCD_REG")
	q.tail = (q.tail + q.bytes() - q.size()) % q.bytes()
	g.put(spec.PutDescType(spec.DescWait)|spec.IwSW.Put(1)|spec.IwDATA.Put(0xeeee), uint64(g.status), "a wait in its place")
	g.write(spec.OffFSTS, 4, spec.FstsIQE.Put(1), "clear IQE")
	g.ring()
}

// badDescriptor puts a descriptor in the queue that the unit must refuse: of a type that it does not
// have, with reserved bits, with a granularity or a mask that there is not.
func (g *vtdGen) badDescriptor() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	lo, hi, what := g.wrongDescriptor()
	g.section("a wrong descriptor: %s", what)
	if g.chance(40) {
		g.wait() // in the same batch
	}
	g.put(lo, hi, "%s", what)
	if g.queue.wide && g.chance(10) {
		g.p.Steps[len(g.p.Steps)-1].Runs = pack([]uint64{lo, hi, g.r.Uint64N(2), 1})
	}
	g.ring()
	g.recover()
}

func (g *vtdGen) wrongDescriptor() (lo, hi uint64, what string) {
	typ := func(t uint8) uint64 { return spec.PutDescType(t) }
	did := spec.IiDID.Put(uint64(g.r.IntN(8)))
	switch g.r.IntN(10) {
	case 0:
		return typ(uint8(one(&g.builder, 0, 9, 0xa, 0xb, 0xf, 0x10|g.r.IntN(16), g.r.IntN(128)))), 0, "type"
	case 1:
		t := one[uint8](&g.builder, 1, 2, 4, 5)
		w := g.flip([]uint64{typ(t) | 1<<4, 0}, spec.DescLayouts[t].Reserved([]uint64{^uint64(0), ^uint64(0)}))
		return w[0], w[1], "reserved bits"
	case 2:
		return typ(spec.DescContext) | did, 0, "context granularity 0"
	case 3:
		return typ(spec.DescIOTLB) | did, 0, "translation granularity 0"
	case 4:
		am := vtdMAMV + 1 + uint64(g.r.IntN(63-vtdMAMV))
		return typ(spec.DescIOTLB) | spec.IiG.Put(spec.GranPage) | did, am, "address mask beyond MAMV"
	case 5:
		return typ(spec.DescDevTLB) | spec.DtSID.Put(uint64(g.devs[0].sid)), 0x1000, "device-TLB that there is not"
	case 6:
		return typ(spec.DescPASIDDevTLB) | spec.PdSID.Put(uint64(g.devs[0].sid)), 0x1000, "device-TLB of a PASID that there is not"
	case 7:
		return typ(spec.DescPASIDIOTLB) | spec.PiG.Put(g.r.Uint64()) | did, one[uint64](&g.builder, 0, 19, 63), "translations of a PASID"
	case 8:
		return typ(spec.DescPASIDCache) | spec.PcG.Put(2) | did, 0, "PASID entries, granularity 2"
	}
	return typ(spec.DescWait) | spec.IwPD.Put(1), 0, "page-request drain that there is not"
}

// badWait waits in ways that are easily got wrong.
func (g *vtdGen) badWait() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	t := spec.PutDescType(spec.DescWait)
	g.section("a wait descriptor at the limits")
	switch g.r.IntN(4) {
	case 0:
		g.put(t|spec.IwFN.PutBool(g.chance(50)), 0, "neither status nor interrupt")
	case 1:
		g.put(t|spec.IwSW.Put(1)|spec.IwIF.Put(1)|spec.IwDATA.Put(0x5151), uint64(g.status), "status and interrupt")
	case 2:
		g.put(t|spec.IwSW.Put(1)|spec.IwDATA.Put(1), uint64(g.hole), "status to where nothing is")
	default:
		g.put(t|spec.IwSW.Put(1)|spec.IwDATA.Put(1), uint64(g.status)|1+uint64(g.r.IntN(3)), "status address that is not aligned")
	}
	g.ring()
	g.recover()
}

// badTail sets the tail where it must not be, and back.
func (g *vtdGen) badTail() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	q := &g.queue
	g.section("a wrong tail")
	if q.wide && g.chance(50) {
		g.write(spec.OffIQT, 8, q.tail|1<<4, "IQT_REG, between two descriptors")
	} else {
		g.write(spec.OffIQT, 8, one(&g.builder, q.bytes(), q.bytes()+16*uint64(g.r.IntN(8)), 0x7ffe0), "IQT_REG, beyond the queue")
	}
	g.read(spec.OffFSTS, 4, "FSTS_REG")
	g.ring()
	g.write(spec.OffFSTS, 4, spec.FstsIQE.Put(1), "clear IQE")
	g.wait()
	g.ring()
}

// badQueue turns the queue on with an address or a width that it must not have.
func (g *vtdGen) badQueue() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	q := &g.queue
	g.section("a wrong queue")
	g.wait()
	g.ring()
	g.enable(spec.GcmdQIE, false)
	base, wide := q.base, q.wide
	switch g.r.IntN(3) {
	case 0:
		base = g.hole
	case 1:
		wide = !wide
	default:
		g.levels &^= spec.GcmdQIE.Mask()
		g.tailFirst()
		g.queueOn()
		return
	}
	g.write(spec.OffIQT, 8, 0, "IQT_REG")
	g.write(spec.OffIQA, 8, uint64(base)|spec.IqaDW.PutBool(wide), "IQA_REG")
	g.enable(spec.GcmdQIE, true)
	g.write(spec.OffIQT, 8, spec.DescSize256, "IQT_REG")
	g.read(spec.OffFSTS, 4, "FSTS_REG")
	g.write(spec.OffFSTS, 4, spec.FstsIQE.Put(1), "clear IQE")
	g.enable(spec.GcmdQIE, false)
	g.write(spec.OffFSTS, 4, spec.FstsIQE.Put(1), "clear IQE, which is there again")
	g.queueOn()
}

// tailFirst sets the tail before the address, which sets it back.
func (g *vtdGen) tailFirst() {
	if g.on(spec.GcmdQIE) {
		return
	}
	g.section("a tail before there is a queue")
	g.write(spec.OffIQT, 8, uint64(1+g.r.IntN(8))*32, "IQT_REG, too early")
	g.write(spec.OffIQA, 8, uint64(g.queue.base), "IQA_REG")
	g.write(spec.OffIQT, 8, 0, "IQT_REG")
}

// abruptQueueOff turns the queue off when its last descriptor was no wait.
func (g *vtdGen) abruptQueueOff() {
	if !g.on(spec.GcmdQIE) {
		return
	}
	g.section("queue off without a wait")
	g.putIOTLB(spec.GranGlobal, 0, 0, 0)
	g.ring()
	g.enable(spec.GcmdQIE, false)
	g.queueOn()
}
