package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuGen generates one program for an SMMUv3: a driver that sets the unit up, maps, unmaps and moves
// devices, with the invalidations that the specification asks for (4.7), and devices that access what is
// mapped and what is not. Programs that are not legal throughout have mistakes among that.
type smmuGen struct {
	builder
	mode string

	streams smmuStreams
	devs    []*smmuDevice
	spaces  []*smmuSpace
	cmds    smmuQueue
	events  smmuQueue
	cr0     uint64 // as software believes
	gerrorn uint64
	asid    uint64 // last one given
	vmid    uint64
}

// smmuStreams is the stream table.
type smmuStreams struct {
	base  emu.PA
	log2  uint64
	split uint64            // 0: linear
	l1    map[uint64]uint64 // L1STDs in force by index
	grown bool              // an L1STD is new
}

// smmuDevice is a requester as the generator's driver sees it.
type smmuDevice struct {
	index  int
	sid    emu.SourceID
	config uint64 // of the STE in force
	space  *smmuSpace
}

// smmuQueue is a queue as software sees it.
type smmuQueue struct {
	base  emu.PA
	lg2   uint64
	index uint64 // of software: PROD of commands, CONS of events; with the wrap flag
}

// translates reports whether accesses of the device go through tables.
func (d *smmuDevice) translates() bool { return d.config > spec.ConfigBypass && d.space != nil }

func smmuGenerate(mode string, seed uint64, m Machine) *Program {
	p := newProgram("smmuv3", mode, seed, m)
	g := &smmuGen{builder: newBuilder(p, m, "smmuv3 "+mode), mode: mode}
	g.prepare()
	g.bringUp()
	g.body(g.mistake, func() { pick(g.r, smmuActions)(g) })
	return p
}

// room takes 2^lg2 bytes, aligned to their size. It fails where tables would reach data.
func (g *smmuGen) room(lg2 uint8) (emu.PA, bool) {
	lg2 = max(lg2, 12)
	size := emu.PA(1) << lg2
	at := (g.next + size - 1) &^ (size - 1)
	if at+size > g.p.RAM+dataArea {
		return 0, false
	}
	g.next = at + size
	return at, true
}

// prepare builds what is in memory before the unit is turned on.
func (g *smmuGen) prepare() {
	g.section("memory")
	g.fillData()
	g.newStreams()
	for i := range g.p.Devices {
		g.devs = append(g.devs, &smmuDevice{index: i, sid: g.p.Devices[i]})
	}
	for range 1 + g.r.IntN(3) {
		g.newSpace()
	}
	for _, d := range g.devs {
		if g.chance(90) {
			g.writeSTE(d, g.someConfig(), g.someSpace())
		}
	}
}

// newStreams makes a stream table for all requesters.
func (g *smmuGen) newStreams() {
	s := smmuStreams{log2: 9 + uint64(g.r.IntN(2)), l1: make(map[uint64]uint64)}
	lg2 := uint8(s.log2 + 6)
	if g.streams.split != 0 || g.chance(50) { // see deviation linear-stays-two-level
		s.split = one[uint64](&g.builder, 6, 8, 10)
		lg2 = 12
	}
	s.base, _ = g.room(lg2)
	g.streams = s
}

// ste returns where the STE of a device is, and makes the second level of the table.
func (g *smmuGen) ste(sid emu.SourceID) emu.PA {
	s := &g.streams
	if s.split == 0 {
		return s.base + emu.PA(sid)*spec.STESize
	}
	i := uint64(sid) >> s.split
	d, ok := s.l1[i]
	if !ok {
		span := s.split + 1
		l2, _ := g.room(uint8(span + 5))
		d = uint64(l2) | span
		s.l1[i], s.grown = d, true
		g.store(s.base+emu.PA(i)*spec.DescSize, []uint64{d}, "L1STD %d", i)
	}
	return spec.L1STD(d).L2Ptr() + emu.PA(uint64(sid)&(1<<s.split-1))*spec.STESize
}

// bringUp turns the unit on, as drivers do (6.3.9, 7.1).
func (g *smmuGen) bringUp() {
	g.section("bring-up")
	if g.chance(20) {
		g.access(0, g.direct(), "before translation is on")
	}
	if g.chance(20) {
		g.gbpa(g.chance(50))
		g.access(0, g.direct(), "GBPA decides")
	}
	g.write(spec.OffCR1, 4, one[uint64](&g.builder, 0, 0xd75, 0xfff&g.r.Uint64()), "CR1")
	g.write(spec.OffCR2, 4, spec.Cr2RECINVSID.PutBool(g.chance(70))|spec.Cr2PTM.PutBool(g.chance(50)), "CR2")
	g.setStreams()
	g.newQueue(&g.cmds, 5+uint64(g.r.IntN(4)), 4, &smmuCommands)
	g.newQueue(&g.events, 4+uint64(g.r.IntN(4)), 5, &smmuEventQueue)
	g.set(spec.Cr0CMDQEN.Mask(), true)
	g.flushAll()
	if g.chance(90) {
		g.set(spec.Cr0EVENTQEN.Mask(), true)
	}
	if g.chance(50) {
		g.write(spec.OffIRQCtrl, 4, one[uint64](&g.builder, 0, 1, 4, 5), "IRQ_CTRL")
	}
	g.set(spec.Cr0SMMUEN.Mask(), true)
}

// gbpa says what happens to accesses while translation is off.
func (g *smmuGen) gbpa(abort bool) {
	v := spec.GbpaUPDATE.Mask() | spec.GbpaSHCFG.Put(spec.ShCfgIncoming) | spec.GbpaABORT.PutBool(abort)
	g.write(spec.OffGBPA, 4, v, "GBPA: ABORT=%d", truth(abort))
}

func (g *smmuGen) setStreams() {
	s := &g.streams
	g.long(spec.OffSTRTABBase, uint64(s.base)|spec.StrtabRA.PutBool(g.chance(30)), "STRTAB_BASE")
	g.write(spec.OffSTRTABBaseCfg, 4, g.streamsCfg(), "STRTAB_BASE_CFG")
}

// streamsCfg is what STRTAB_BASE_CFG says of the table.
func (g *smmuGen) streamsCfg() uint64 {
	v := spec.StrtabLog2.Put(g.streams.log2)
	if g.streams.split != 0 {
		v |= spec.StrtabSplit.Put(g.streams.split) | spec.StrtabFmt.Put(spec.StrtabFmt2Lvl)
	}
	return v
}

// newQueue makes a queue with entries of 2^entry bytes. It has to be off.
func (g *smmuGen) newQueue(q *smmuQueue, lg2 uint64, entry uint8, p *smmuPlace) {
	q.lg2, q.index = lg2, 0
	q.base, _ = g.room(uint8(lg2) + entry)
	if q.base == 0 {
		q.base = g.page()
		q.lg2 = 5
	}
	g.place(uint64(q.base)|spec.QBaseHint.PutBool(g.chance(30))|q.lg2, p)
}

// set turns bits of CR0 on or off.
func (g *smmuGen) set(bits uint64, on bool) {
	if g.cr0&bits == bits && on || g.cr0&bits == 0 && !on {
		return
	}
	g.cr0 ^= bits
	g.write(spec.OffCR0, 4, g.cr0, "CR0: SMMUEN=%d, EVENTQEN=%d, CMDQEN=%d", spec.Cr0SMMUEN.Of(g.cr0), spec.Cr0EVENTQEN.Of(g.cr0), spec.Cr0CMDQEN.Of(g.cr0))
	if g.chance(40) {
		g.read(spec.OffCR0ACK, 4, "CR0ACK")
	}
}
