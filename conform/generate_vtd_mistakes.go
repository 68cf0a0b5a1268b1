package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdMistakesOf is what software must not do. Each is followed by accesses that may meet it, and is
// undone, with the invalidations that both need.
var vtdMistakesOf = map[string][]choice[*vtdGen]{
	vtdLegacy: append([]choice[*vtdGen]{
		{10, (*vtdGen).badContext},
		{2, (*vtdGen).registersBesideQueue},
	}, vtdMistakesOfAll...),
	vtdSecond: vtdMistakesOfScalable,
	vtdFirst:  vtdMistakesOfScalable,
}

var vtdMistakesOfScalable = append([]choice[*vtdGen]{
	{5, (*vtdGen).badContext},
	{3, (*vtdGen).badDirectory},
	{10, (*vtdGen).badPASID},
	{1, (*vtdGen).registersBesideQueue},
}, vtdMistakesOfAll...)

var vtdMistakesOfAll = []choice[*vtdGen]{
	{5, (*vtdGen).badRoot},
	{14, (*vtdGen).badPaging},
	{4, (*vtdGen).interruptPage},
	{10, (*vtdGen).badDescriptor},
	{3, (*vtdGen).badWait},
	{3, (*vtdGen).badTail},
	{2, (*vtdGen).badQueue},
	{2, (*vtdGen).abruptQueueOff},
	{3, (*vtdGen).badMode},
	{3, (*vtdGen).writeReadOnly},
	{2, (*vtdGen).manyCommands},
	{2, (*vtdGen).wideWrites},
	{4, (*vtdGen).badInterrupt},
}

func (g *vtdGen) mistake() {
	pick(g.r, vtdMistakesOf[g.mode])(g)
}

// probe lets a device read and write what it has mapped, and serves the faults in between.
func (g *vtdGen) probe(d *vtdDevice) { g.accessWrong(d.index, d.maps(), true, g.actFaults) }

// attached draws a device with an entry in force.
func (g *vtdGen) attached() (*vtdDevice, bool) {
	for range 8 {
		if d := one(&g.builder, g.devs...); d.dom != nil || d.pass {
			return d, true
		}
	}
	return nil, false
}

// badRoot has bits in a root entry that must be 0, or points it at nothing.
func (g *vtdGen) badRoot() {
	d, ok := g.attached()
	if !ok {
		return
	}
	at := g.root + emu.PA(d.sid>>8)*16
	w := g.current(at, 2)
	g.section("a wrong root entry")
	switch g.r.IntN(4) {
	case 0:
		w[0] = uint64(g.hole) | 1
		if g.scalable {
			w[1] = w[0]
		}
	case 1:
		w[0] &^= 1
		if g.scalable {
			w[1] &^= 1
		}
	default:
		w = g.flip(w, []uint64{0xffe | vtdBeyond, 0xffe | vtdBeyond})
	}
	g.with(at, w, g.flushAll, func() { g.probe(d) }, "root entry of bus %d", d.sid>>8)
}

// vtdBeyond are address bits that the machine does not have.
const vtdBeyond = 0xffff_0000_0000_0000

// badContext changes fields of a context entry to what they must not be.
func (g *vtdGen) badContext() {
	d, ok := g.attached()
	if !ok {
		return
	}
	at := g.contextAt(d.sid)
	g.section("a wrong context entry")
	var w []uint64
	if g.scalable {
		w = g.flip(g.current(at, 4), []uint64{0x1e0 | 0x1c | vtdBeyond, ^uint64(0), ^uint64(0), ^uint64(0)})
		if g.chance(20) {
			w = g.current(at, 4)
			w[0] = uint64(g.hole) | 1
		}
	} else {
		w = g.wrongLegacy(g.current(at, 2))
	}
	if g.chance(20) {
		w[0] |= spec.CtxFPD.Mask()
	}
	g.with(at, w, func() { g.flushEntry(d, true) }, func() { g.probe(d) }, "context entry of device %d", d.index)
}

// wrongLegacy returns a legacy context entry with a mistake in it.
func (g *vtdGen) wrongLegacy(w []uint64) []uint64 {
	switch g.r.IntN(5) {
	case 0:
		w[0] = w[0]&^spec.CtxTT.Mask() | spec.CtxTT.Put(uint64(1+g.r.IntN(3)))
	case 1:
		w[1] = w[1]&^spec.CtxAW.Mask() | spec.CtxAW.Put(uint64(g.r.IntN(8)))
	case 2:
		w[0] = w[0]&^spec.CtxSSPTPTR.Mask() | uint64(g.hole)
	case 3:
		w[0] &^= 1
	default:
		w = g.flip(w, []uint64{0xff0 | vtdBeyond, 0xffff_ffff_ff00_0080})
	}
	return w
}

// badDirectory changes a PASID directory entry.
func (g *vtdGen) badDirectory() {
	d, ok := g.attached()
	if !ok {
		return
	}
	g.section("a wrong PASID directory entry")
	w := g.current(d.dir, 1)
	switch g.r.IntN(4) {
	case 0:
		w[0] = uint64(g.hole) | 1
	case 1:
		w[0] &^= 1
	default:
		w = g.flip(w, []uint64{0xffc | vtdBeyond})
	}
	if g.chance(20) {
		w[0] |= spec.PDirFPD.Mask()
	}
	g.with(d.dir, w, func() { g.flushEntry(d, true) }, func() { g.probe(d) }, "PASID directory of device %d", d.index)
}

// badPASID changes fields of a PASID entry to what they must not be.
func (g *vtdGen) badPASID() {
	d, ok := g.attached()
	if !ok {
		return
	}
	g.section("a wrong PASID entry")
	w := g.current(d.table, 8)
	switch g.r.IntN(6) {
	case 0:
		w[0] = w[0]&^spec.PasidPGTT.Mask() | spec.PasidPGTT.Put(g.r.Uint64())
	case 1:
		w[0] = w[0]&^spec.PasidAW.Mask() | spec.PasidAW.Put(g.r.Uint64())
	case 2:
		i := 0
		if g.first {
			i = 2
		}
		w[i] = w[i]&^spec.PasidSSPTPTR.Mask() | uint64(g.hole)
	case 3:
		w = make([]uint64, 8)
	default:
		w = g.flip(w, []uint64{0xe00 | vtdBeyond, 0x1ff_0000, 0xf00, ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)})
	}
	if g.chance(20) {
		w[0] |= spec.PasidFPD.Mask()
	}
	g.with(d.table, w, func() { g.flushEntry(d, false) }, func() { g.probe(d) }, "PASID 0 of device %d", d.index)
}

// badPaging changes an entry of a second-stage table on the way to a page.
func (g *vtdGen) badPaging() {
	d := g.device()
	if d.dom == nil || len(d.dom.maps) == 0 {
		return
	}
	m := one(&g.builder, d.dom.maps...)
	leaf := int(m.lg2-12) / 9
	level := leaf + g.r.IntN(d.dom.levels()-leaf)
	at, ok := g.slot(d.dom, m.iova, level)
	if !ok {
		return
	}
	g.section("a wrong paging entry, level %d", level)
	e := g.wrongPaging(g.mem[at], level, level == leaf)
	flush := func() { g.flushPages(d.dom, m.iova&^(1<<shift(level)-1), shift(level), false) }
	g.with(at, []uint64{e}, flush, func() {
		for _, write := range []bool{false, true} {
			g.dma(d.index, g.inside(&m), write, "meets it")
			g.actFaults()
		}
	}, "level %d entry of domain %d for %#x", level, d.dom.did, uint64(m.iova))
}

// interruptPage maps a page that reaches into the interrupt address range.
func (g *vtdGen) interruptPage() {
	d := g.device()
	if d.dom == nil || len(d.dom.maps) == 0 {
		return
	}
	m := one(&g.builder, d.dom.maps...)
	at := g.find(d.dom, &m)
	level := int(m.lg2-12) / 9
	pa := emu.PA(interruptRange)<<20 | emu.PA(g.r.IntN(512))<<12 // the 2 MiB of which it is the first half
	if level == 0 {
		pa &^= 1 << 20
	}
	g.section("a page in the interrupt range")
	flush := func() { g.flushPages(d.dom, m.iova, m.lg2, true) }
	g.with(at, []uint64{g.leaf(pa&^(1<<shift(level)-1), level, 3)}, flush, func() {
		off := emu.IOVA(pa)&(1<<m.lg2-1) | emu.IOVA(g.r.IntN(512))*8
		g.access(d.index, m.iova+off, "meets it")
		g.actFaults()
	}, "level %d leaf of domain %d: %#x", level, d.dom.did, uint64(m.iova))
}

// registersBesideQueue invalidates by registers while the queue is on, by granularities that there are
// not, or where only the queue may.
func (g *vtdGen) registersBesideQueue() {
	g.section("invalidation by registers that must not be")
	gran := g.r.Uint64() & 3
	if g.chance(50) {
		g.regContext(gran, uint64(g.r.IntN(8)), one(&g.builder, g.devs...).sid)
	} else {
		am := one[uint64](&g.builder, 0, vtdMAMV, vtdMAMV+1, 63)
		g.regIOTLB(gran, uint64(g.r.IntN(8)), am, 0)
	}
	g.read(spec.OffCCMD, 8, "CCMD_REG")
	g.read(vtdIRO+spec.OffIOTLB, 8, "IOTLB_REG")
}

// badMode sets a table mode that there is not, with translation off and on.
func (g *vtdGen) badMode() {
	ttm := 1 + g.r.Uint64N(3)
	if g.scalable {
		ttm = 2 + g.r.Uint64N(2)
	}
	g.section("table mode %d", ttm)
	g.enable(spec.GcmdTE, false)
	g.write(spec.OffRTADDR, 8, uint64(g.root)|spec.RtaddrTTM.Put(ttm), "RTADDR_REG")
	g.shot(spec.GcmdSRTP, "SRTP")
	g.enable(spec.GcmdTE, true)
	d := g.device()
	g.probe(d)
	g.enable(spec.GcmdTE, false)
	g.setRoot()
	g.flushAll()
	g.enable(spec.GcmdTE, true)
}

// vtdReadOnly are registers, or bits of them, that software cannot write.
var vtdReadOnly = []struct {
	off  uint32
	size uint8
	bits uint64
	what string
}{
	{spec.OffVER, 4, ^uint64(0), "VER_REG"},
	{spec.OffCAP, 8, ^uint64(0), "CAP_REG"},
	{spec.OffECAP, 8, ^uint64(0), "ECAP_REG"},
	{spec.OffGSTS, 4, ^uint64(0), "GSTS_REG"},
	{spec.OffFSTS, 4, ^uint64(0x7d), "FSTS_REG, bits that cannot be cleared"},
	{spec.OffFEUADDR, 4, ^uint64(0), "FEUADDR_REG"},
	{spec.OffPMEN, 4, ^uint64(0), "PMEN_REG"},
	{spec.OffPLMBASE, 4, ^uint64(0), "PLMBASE_REG"},
	{spec.OffPHMLIMIT, 8, ^uint64(0), "PHMLIMIT_REG"},
	{spec.OffIQH, 8, ^uint64(0), "IQH_REG"},
	{spec.OffIEUADDR, 4, ^uint64(0), "IEUADDR_REG"},
	{spec.OffIQERCD, 8, ^uint64(0), "IQERCD_REG"},
	{spec.OffPRS, 4, ^uint64(0), "PRS_REG"},
	{vtdFRO, 8, ^uint64(0), "FRCD_REG, low half"},
	{vtdFRO + 8, 8, ^uint64(1 << 63), "FRCD_REG, high half but F"},
	{spec.OffIEDATA, 4, ^uint64(0), "IEDATA_REG"},
	{spec.OffFEDATA, 4, ^uint64(0), "FEDATA_REG"},
	{spec.OffFEADDR, 4, ^uint64(0), "FEADDR_REG"},
	{spec.OffIEADDR, 4, ^uint64(0), "IEADDR_REG"},
}

func (g *vtdGen) writeReadOnly() {
	g.section("writes to what cannot be written")
	for range 1 + g.r.IntN(3) {
		r := one(&g.builder, vtdReadOnly...)
		g.write(r.off, r.size, r.bits&(g.r.Uint64()|g.r.Uint64()), "%s", r.what)
		g.read(r.off, r.size, "%s", r.what)
	}
}

// manyCommands gives several commands in one write, and commands that the unit does not have.
func (g *vtdGen) manyCommands() {
	g.section("several commands at once")
	extra := one(&g.builder, spec.GcmdWBF, spec.GcmdSFL, spec.GcmdEAFL, spec.GcmdCFI, reg.Bits(22_000))
	bits := spec.GcmdSRTP.PutBool(g.chance(50)) | extra.Put(g.r.Uint64())
	te := g.chance(30)
	if te {
		g.levels ^= spec.GcmdTE.Mask()
	}
	g.write(spec.OffGCMD, 4, g.levels|bits, "GCMD_REG")
	g.read(spec.OffGSTS, 4, "GSTS_REG")
	g.flushAll()
	if te {
		g.levels ^= spec.GcmdTE.Mask()
		g.write(spec.OffGCMD, 4, g.levels|spec.GcmdSRTP.Mask(), "GCMD_REG: TE and SRTP")
		g.flushAll()
	}
}

// wideWrites writes two registers of 4 bytes at once.
func (g *vtdGen) wideWrites() {
	g.section("two registers at once")
	switch g.r.IntN(4) {
	case 0:
		g.write(spec.OffFECTL, 8, vtdFEData<<32|spec.EventIM.PutBool(g.chance(50)), "FECTL_REG and FEDATA_REG")
	case 1:
		g.write(spec.OffIECTL, 8, vtdIEData<<32|spec.EventIM.PutBool(g.chance(50)), "IECTL_REG and IEDATA_REG")
	case 2:
		g.write(spec.OffIEADDR, 8, vtdMSI, "IEADDR_REG and IEUADDR_REG")
	default:
		g.write(spec.OffICS-4, 8, spec.IcsIWC.Put(1)<<32, "ICS_REG and what is before it")
	}
}
