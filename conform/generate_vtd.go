package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdGen generates one program for a VT-d unit: a driver that sets the unit up, maps, unmaps and moves
// devices, with the invalidations that the specification asks for (6.5), and devices that access what
// is mapped and what is not. Programs that are not legal throughout have mistakes among that.
type vtdGen struct {
	builder
	mode     string
	scalable bool
	first    bool // domains are of the first stage

	root   emu.PA
	tables map[emu.SourceID]emu.PA // context tables by bus, in scalable mode by half of a bus
	devs   []*vtdDevice
	doms   []*vtdDomain

	levels uint64 // of GCMD as software believes
	queue  vtdQueue
	irt    vtdIRT
	status emu.PA // words that wait descriptors write
}

// vtdDevice is a requester as the generator's driver sees it.
type vtdDevice struct {
	index int
	sid   emu.SourceID
	dom   *vtdDomain // nil: no translation
	pass  bool       // pass-through, with did
	did   uint64     // of the entry in force
	dir   emu.PA     // scalable mode: PASID directory, and the table of PASID 0
	table emu.PA
}

// maps are the pages that a device has.
func (d *vtdDevice) maps() []mapping {
	if d.dom == nil {
		return nil
	}
	return d.dom.maps
}

// vtdDomain is an address space.
type vtdDomain struct {
	did   uint64
	aw    uint64 // code: levels - 2
	first bool   // of the first stage
	top   emu.PA
	maps  []mapping
}

func vtdGenerate(mode string, seed uint64, m Machine) *Program {
	p := newProgram("vtd", mode, seed, m)
	g := &vtdGen{
		builder: newBuilder(p, m, "vtd "+mode), mode: mode, scalable: mode != vtdLegacy, first: mode == vtdFirst,
		tables: make(map[emu.SourceID]emu.PA),
	}
	g.prepare()
	g.bringUp()
	g.body(g.mistake, func() { pick(g.r, vtdActions)(g) })
	return p
}

// prepare builds what is in memory before the unit is turned on.
func (g *vtdGen) prepare() {
	g.section("memory")
	g.fillData()
	g.status = g.page()
	g.root = g.page()
	for i := range g.p.Devices {
		g.devs = append(g.devs, &vtdDevice{index: i, sid: g.p.Devices[i]})
	}
	for range 1 + g.r.IntN(3) {
		g.newDomain()
	}
	for _, d := range g.devs {
		if g.chance(90) {
			g.attach(d, g.someTarget())
		}
	}
}

// bringUp turns the unit on, as drivers do.
func (g *vtdGen) bringUp() {
	g.section("bring-up")
	if g.chance(20) { // untranslated
		g.access(0, emu.IOVA(one(&g.builder, g.data...)), "before translation is on")
	}
	if g.chance(50) {
		g.events()
	}
	queueFirst := g.chance(50)
	if queueFirst {
		g.queueOn()
	}
	g.setRoot()
	if !queueFirst && (g.scalable || g.chance(80)) {
		g.queueOn()
	}
	g.flushAll()
	g.enable(spec.GcmdTE, true)
}

// setRoot points the unit at the root table.
func (g *vtdGen) setRoot() {
	v := uint64(g.root)
	if g.scalable {
		v |= spec.RtaddrTTM.Put(spec.TTMScalable)
	}
	if g.chance(30) {
		g.write(spec.OffRTADDR, 4, v, "RTADDR_REG, low half")
		g.write(spec.OffRTADDR+4, 4, v>>32, "RTADDR_REG, high half")
	} else {
		g.write(spec.OffRTADDR, 8, v, "RTADDR_REG")
	}
	g.shot(spec.GcmdSRTP, "SRTP")
}

// shot gives a one-shot command.
func (g *vtdGen) shot(b reg.Bits, name string) {
	g.write(spec.OffGCMD, 4, g.levels|b.Mask(), "GCMD_REG: %s", name)
	g.read(spec.OffGSTS, 4, "GSTS_REG")
}

// enable turns something on or off.
func (g *vtdGen) enable(b reg.Bits, on bool) {
	g.levels &^= b.Mask()
	g.levels |= b.PutBool(on)
	name := map[reg.Bits]string{spec.GcmdTE: "TE", spec.GcmdQIE: "QIE", spec.GcmdIRE: "IRE"}[b]
	g.write(spec.OffGCMD, 4, g.levels, "GCMD_REG: %s=%d", name, b.Of(g.levels))
	g.read(spec.OffGSTS, 4, "GSTS_REG")
}

func (g *vtdGen) on(b reg.Bits) bool { return b.On(g.levels) }

// Messages of the unit. Nothing answers there.
const (
	vtdMSI    = 0xfee0_1000
	vtdFEData = 0x31
	vtdIEData = 0x32
)

// events programs the interrupts of the unit.
func (g *vtdGen) events() {
	g.write(spec.OffFEDATA, 4, vtdFEData, "FEDATA_REG")
	g.write(spec.OffFEADDR, one(&g.builder, uint8(4), 8), vtdMSI, "FEADDR_REG")
	g.write(spec.OffFECTL, 4, 0, "FECTL_REG: not masked")
	if g.chance(60) {
		g.write(spec.OffIEDATA, 4, vtdIEData, "IEDATA_REG")
		g.write(spec.OffIEADDR, 4, vtdMSI, "IEADDR_REG")
		g.write(spec.OffIECTL, 4, 0, "IECTL_REG: not masked")
	}
}
