package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdQueue is the invalidation queue as software sees it.
type vtdQueue struct {
	base emu.PA
	qs   uint64
	wide bool
	tail uint64
	wait uint64 // data of the last wait descriptor
	bare bool   // nothing has been queued since the queue was turned on
}

func (q *vtdQueue) bytes() uint64 { return emu.PageSize << q.qs }

func (q *vtdQueue) size() uint64 {
	if q.wide {
		return spec.DescSize256
	}
	return spec.DescSize128
}

// queueOn makes a queue and turns it on.
func (g *vtdGen) queueOn() {
	q := &g.queue
	q.qs = uint64(g.r.IntN(2))
	q.wide = g.scalable
	q.base = g.page()
	if q.qs > 0 {
		g.page()
	}
	q.tail, q.bare = 0, true
	g.write(spec.OffIQT, one(&g.builder, uint8(4), 8), 0, "IQT_REG")
	g.write(spec.OffIQA, 8, uint64(q.base)|spec.IqaQS.Put(q.qs)|spec.IqaDW.PutBool(q.wide), "IQA_REG")
	g.enable(spec.GcmdQIE, true)
}

// put writes a descriptor at the tail, without telling the unit.
func (g *vtdGen) put(lo, hi uint64, format string, a ...any) {
	q := &g.queue
	w := []uint64{lo, hi}
	if q.wide {
		w = append(w, 0, 0)
	}
	g.store(q.base+emu.PA(q.tail), w, format, a...)
	q.tail = (q.tail + q.size()) % q.bytes()
	q.bare = false
}

// wait puts a wait descriptor.
func (g *vtdGen) wait() {
	g.queue.wait++
	at := g.status + emu.PA(g.r.IntN(4))*4
	lo := spec.PutDescType(spec.DescWait) | spec.IwFN.PutBool(g.chance(20))
	if g.chance(15) {
		g.put(lo|spec.IwIF.Put(1), 0, "wait: interrupt")
		return
	}
	g.put(lo|spec.IwSW.Put(1)|spec.IwDATA.Put(g.queue.wait), uint64(at), "wait: %#x to %#x", g.queue.wait, uint64(at))
}

// ring tells the unit of what was put.
func (g *vtdGen) ring() {
	g.write(spec.OffIQT, one(&g.builder, uint8(4), 8), g.queue.tail, "IQT_REG")
}

// flushAll makes the unit forget everything.
func (g *vtdGen) flushAll() {
	if !g.on(spec.GcmdQIE) {
		g.regContext(spec.GranGlobal, 0, 0)
		g.regIOTLB(spec.GranGlobal, 0, 0, 0)
		return
	}
	g.putContext(spec.GranGlobal, 0, 0)
	if g.scalable {
		g.putPASID(spec.GranPCGlobal, 0, 0)
	}
	g.putIOTLB(spec.GranGlobal, 0, 0, 0)
	g.wait()
	g.ring()
}

// flushPages makes the unit forget the translations of a block of a domain; leaf says that only the
// entry of a leaf has changed.
func (g *vtdGen) flushPages(d *vtdDomain, at emu.IOVA, lg2 uint8, leaf bool) {
	gran := one[uint64](&g.builder, spec.GranPage, spec.GranPage, spec.GranPage, spec.GranDomain, spec.GranGlobal)
	am := uint64(lg2-12) + uint64(g.r.IntN(2)*g.r.IntN(3))
	if am > vtdMAMV {
		gran = max(spec.GranDomain, gran) &^ 1
	}
	addr := uint64(at)&^(1<<(12+am)-1) | am
	addr |= spec.IiIH.PutBool(leaf && g.chance(50)) // 70:64: the same place in the second word
	if !g.on(spec.GcmdQIE) {
		g.regIOTLB(gran, d.did, addr, uint64(at))
		return
	}
	if g.first && gran != spec.GranGlobal && g.chance(70) {
		g.putProcess(gran, d.did, addr, uint64(at))
	} else {
		g.putIOTLB(gran, d.did, addr, uint64(at))
	}
	g.wait()
	g.ring()
}

// vtdMAMV is CAP.MAMV of the unit.
const vtdMAMV = 18

// flushEntry makes the unit forget the entry of a device and its translations, by their old domain. In
// scalable mode context says that the context entry has changed, not only that of the PASID.
func (g *vtdGen) flushEntry(d *vtdDevice, context bool) {
	gran := one[uint64](&g.builder, spec.GranDevice, spec.GranDevice, spec.GranDomain, spec.GranGlobal)
	tlb := one[uint64](&g.builder, spec.GranDomain, spec.GranDomain, spec.GranGlobal)
	if !g.on(spec.GcmdQIE) {
		g.regContext(gran, d.did, d.sid)
		g.regIOTLB(tlb, d.did, 0, 0)
		return
	}
	if !g.scalable || context || g.chance(50) {
		g.putContext(gran, d.did, d.sid)
	}
	if g.scalable {
		g.putPASID(one[uint64](&g.builder, spec.GranPCDomain, spec.GranPCPASID, spec.GranPCGlobal), d.did, 0)
	}
	if g.first && tlb != spec.GranGlobal && g.chance(50) {
		g.putProcess(tlb, d.did, 0, 0)
	} else {
		g.putIOTLB(tlb, d.did, 0, 0)
	}
	g.wait()
	g.ring()
}

func (g *vtdGen) putContext(gran, did uint64, sid emu.SourceID) {
	lo := spec.PutDescType(spec.DescContext) | spec.CcG.Put(gran)
	if gran != spec.GranGlobal {
		lo |= spec.CcDID.Put(did)
	}
	if gran == spec.GranDevice {
		lo |= spec.CcSID.Put(uint64(sid)) | spec.CcFM.Put(uint64(g.r.IntN(4)))
	}
	g.put(lo, 0, "invalidate contexts: %s", granularity("global", "domain", "device")[gran])
}

func granularity(names ...string) map[uint64]string {
	m := make(map[uint64]string)
	for i, n := range names {
		m[uint64(i+1)] = n
	}
	return m
}

func (g *vtdGen) putPASID(gran, did, pasid uint64) {
	lo := spec.PutDescType(spec.DescPASIDCache) | spec.PcG.Put(gran)
	if gran != spec.GranPCGlobal {
		lo |= spec.PcDID.Put(did)
	}
	if gran == spec.GranPCPASID {
		lo |= spec.PcPASID.Put(pasid)
	}
	g.put(lo, 0, "invalidate PASID entries: %s", map[uint64]string{0: "domain", 1: "PASID", 3: "global"}[gran])
}

func (g *vtdGen) putIOTLB(gran, did, addr, at uint64) {
	lo := spec.PutDescType(spec.DescIOTLB) | spec.IiG.Put(gran) | spec.IiDR.PutBool(g.chance(50)) | spec.IiDW.PutBool(g.chance(50))
	if gran != spec.GranGlobal {
		lo |= spec.IiDID.Put(did)
	}
	if gran != spec.GranPage {
		g.put(lo, 0, "invalidate translations: %s", granularity("global", "domain")[gran])
		return
	}
	g.put(lo, addr, "invalidate translations: %#x of domain %d", at, did)
}

// putProcess is putIOTLB for a PASID of a domain, by granularities of domains: all of it, or pages.
func (g *vtdGen) putProcess(gran, did, addr, at uint64) {
	lo := spec.PutDescType(spec.DescPASIDIOTLB) | spec.PiDID.Put(did) | spec.PiPASID.Put(0)
	if gran == spec.GranDomain {
		g.put(lo|spec.PiG.Put(spec.GranPASID), 0, "invalidate translations of PASID 0 of domain %d", did)
		return
	}
	g.put(lo|spec.PiG.Put(spec.GranPASIDPage), addr, "invalidate translations of PASID 0 of domain %d: %#x", did, at)
}

// regContext and regIOTLB invalidate by registers (6.5.1).
func (g *vtdGen) regContext(gran, did uint64, sid emu.SourceID) {
	v := spec.CcmdICC.Put(1) | spec.CcmdCIRG.Put(gran) | spec.CcmdDID.Put(did) | spec.CcmdSID.Put(uint64(sid))
	g.long(spec.OffCCMD, v, "CCMD_REG: invalidate contexts")
}

func (g *vtdGen) regIOTLB(gran, did, addr, at uint64) {
	if gran == spec.GranPage {
		g.long(vtdIRO+spec.OffIVA, addr, "IVA_REG")
	}
	v := spec.IotlbIVT.Put(1) | spec.IotlbIIRG.Put(gran) | spec.IotlbDID.Put(did)
	v |= spec.IotlbDR.PutBool(g.chance(50)) | spec.IotlbDW.PutBool(g.chance(50))
	g.long(vtdIRO+spec.OffIOTLB, v, "IOTLB_REG: invalidate translations")
	_ = at
}
