package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// amdGen generates one program for an AMD-Vi unit: a driver that sets the unit up, maps, unmaps and
// moves devices, remaps interrupts, with the invalidations that the specification asks for (2.4), and
// devices that access what is mapped and what is not. Programs that are not legal throughout have
// mistakes among that.
type amdGen struct {
	builder
	mode string

	table  emu.PA // device table
	pages  uint64 // its pages
	devs   []*amdDevice
	doms   []*amdDomain
	ring   amdRing
	log    emu.PA // event log
	status emu.PA // words that COMPLETION_WAIT writes

	control uint64 // as software believes
	wide    bool   // GAEn: interrupt table entries of 128 bits
}

// amdDevice is a requester as the generator's driver sees it.
type amdDevice struct {
	index int
	sid   emu.SourceID
	dom   *amdDomain // nil: no tables
	did   uint64     // of the entry in force, 0 if it has none
	irt   emu.PA     // interrupt table, 0: none
	lenT  uint64     // IntTabLen
	used  []int      // its entries that remap
}

// maps are the pages that a device has.
func (d *amdDevice) maps() []mapping {
	if d.dom == nil {
		return nil
	}
	return d.dom.maps
}

func amdGenerate(mode string, seed uint64, m Machine) *Program {
	p := newProgram("amdvi", mode, seed, m)
	g := &amdGen{builder: newBuilder(p, m, "amdvi "+mode), mode: mode}
	g.prepare()
	g.bringUp()
	g.body(g.mistake, func() { pick(g.r, amdActions)(g) })
	return p
}

// prepare builds what is in memory before the unit is turned on.
func (g *amdGen) prepare() {
	g.section("memory")
	g.fillData()
	g.status = g.page()
	g.newTable()
	for i := range g.p.Devices {
		g.devs = append(g.devs, &amdDevice{index: i, sid: g.p.Devices[i]})
	}
	for range 1 + g.r.IntN(3) {
		g.newDomain()
	}
	g.wide = g.chance(60)
	for _, d := range g.devs {
		if g.chance(90) {
			g.attach(d, g.someTarget(d))
		}
	}
}

// newTable takes pages for a device table that has all requesters.
func (g *amdGen) newTable() {
	g.pages = 3
	for _, d := range g.p.Devices {
		g.pages = max(g.pages, uint64(d)*spec.DTESize/emu.PageSize+1)
	}
	g.table = g.page()
	for range g.pages - 1 {
		g.page()
	}
}

func (g *amdGen) entryAt(s emu.SourceID) emu.PA { return g.table + emu.PA(s)*spec.DTESize }

// bringUp turns the unit on, as drivers do.
func (g *amdGen) bringUp() {
	g.section("bring-up")
	if g.chance(20) { // untranslated
		g.access(0, emu.IOVA(one(&g.builder, g.data...)), "before translation is on")
	}
	if g.wide {
		g.control |= spec.CtlGAEn.Mask()
		if g.mode == amdX2APIC && g.chance(60) {
			g.control |= spec.CtlXTEn.Mask()
		}
	}
	for _, b := range []reg.Bits{spec.CtlCoherent, spec.CtlIsoc, spec.CtlPassPW, spec.CtlHtTunEn, spec.CtlGTEn} {
		g.control |= b.PutBool(g.chance(30))
	}
	g.control |= spec.CtlInvTimeOut.Put(uint64(g.r.IntN(7)))
	g.setTable()
	g.newRing()
	g.newLog()
	if g.chance(30) {
		g.set(spec.CtlCmdBufEn, true)
	}
	if g.chance(30) && g.chance(80) {
		g.set(spec.CtlEventLogEn, true)
	}
	if g.chance(50) {
		g.set(spec.CtlEventIntEn, true)
	}
	if g.mode == amdX2APIC && g.chance(40) {
		g.write(spec.OffXTIntControl, 8, g.xt(), "XT interrupt control")
		g.set(spec.CtlIntCapXTEn, true)
	}
	g.set(spec.CtlIommuEn, true)
	g.set(spec.CtlCmdBufEn, true)
	if g.chance(80) {
		g.set(spec.CtlEventLogEn, true)
	}
	g.flushAll()
}

// xt composes an interrupt of the unit to a processor that is not there.
func (g *amdGen) xt() uint64 {
	return spec.XtDestLo.Put(1+g.r.Uint64N(255)) | spec.XtVector.Put(0x20+g.r.Uint64N(0xe0)) | spec.XtDestMode.Put(0)
}

// setTable points the unit at the device table.
func (g *amdGen) setTable() {
	g.long(spec.OffDevTabBase, uint64(g.table)|(g.pages-1), "Device Table Base")
}

// newLog makes an event log. It has to be off.
func (g *amdGen) newLog() {
	g.log = g.page()
	g.long(spec.OffEventLogBase, uint64(g.log)|spec.RingLen.Put(spec.MinRingLen), "Event Log Base")
	if g.chance(70) {
		g.write(spec.OffEventHead, one(&g.builder, uint8(4), 8), 0, "Event Head")
		g.write(spec.OffEventTail, one(&g.builder, uint8(4), 8), 0, "Event Tail")
	}
}

// set turns something of Control on or off.
func (g *amdGen) set(b reg.Bits, on bool) {
	if g.on(b) == on {
		return
	}
	g.control ^= b.Mask()
	name := map[reg.Bits]string{
		spec.CtlIommuEn: "IommuEn", spec.CtlCmdBufEn: "CmdBufEn", spec.CtlEventLogEn: "EventLogEn", spec.CtlEventIntEn: "EventIntEn",
		spec.CtlComWaitIntEn: "ComWaitIntEn", spec.CtlIntCapXTEn: "IntCapXTEn",
	}[b]
	if b.Hi() < 32 && g.chance(20) {
		g.write(spec.OffControl, 4, g.control, "Control: %s=%d", name, b.Of(g.control))
	} else {
		g.write(spec.OffControl, 8, g.control, "Control: %s=%d", name, b.Of(g.control))
	}
	if g.chance(30) {
		g.read(spec.OffStatus, one(&g.builder, uint8(4), 8), "Status")
	}
}

func (g *amdGen) on(b reg.Bits) bool { return b.On(g.control) }
