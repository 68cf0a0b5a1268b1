package conform

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// access is an access of a device.
func (f *amdStory) access() {
	step := f.c.step
	addr := uint64(step.Addr)
	own := f.c.model.Result()
	if own.Fault.Code&0xf == spec.EventIllegalDTE {
		f.dev(amdEntryValues) // unless an event says so as well
	}
	if f.control(spec.CtlIommuEn) {
		f.tables()
		f.oursOnly(addr)
	}
	switch {
	case !f.control(spec.CtlIommuEn):
		f.lands(addr)
	case !f.s.remap[step.Device]:
		f.passed(addr)
	default:
		f.translate(addr)
	}
}

// tables notes in what the device table is another one than that of our unit.
func (f *amdStory) tables() {
	base := f.ours(spec.OffDevTabBase)
	if uint64(f.c.source())*spec.DTESize >= (spec.DevTabSize.Of(base)+1)*emu.PageSize {
		f.dev(amdTableSize)
	}
	if uint64(f.s.devTab) != base&spec.DevTabBase.Mask() {
		f.dev(amdBaseHalves)
	}
}

// oursOnly notes what of the specification the other unit does not have.
func (f *amdStory) oursOnly(addr uint64) {
	base, limit := f.ours(spec.OffExclBase), f.ours(spec.OffExclLimit)
	if spec.ExclEn.On(base) && base&spec.ExclAddr.Mask() <= addr && addr <= limit|0xfff {
		f.dev(amdNoExclusion)
	}
	if addr>>32 >= 0xfd && addr>>32 <= 0xff {
		f.dev(amdHTRange)
	}
}

// lands ends an access at an address, where there may be memory or not.
func (f *amdStory) lands(pa uint64) {
	f.pa = emu.PA(pa)
	f.ok = f.c.answers(f.pa)
}

// passed is an access of a device that is passed through: its entry, as it was last looked at, has no
// tables.
func (f *amdStory) passed(addr uint64) {
	f.lands(addr)
	switch e, ok := amdEntry(f.load, f.s.devTab, uint64(f.c.source())); {
	case !ok || !amdPasses(e):
		f.dev(amdAllKeepsDevices)
	case spec.DteV.On(e[0]):
		f.dev(amdModeZero)
	}
}

// translate is an access of a device that has tables.
func (f *amdStory) translate(addr uint64) {
	step := f.c.step
	need := emu.Read
	if step.Write {
		need = emu.Write
	}
	key := amdKey{step.Device, addr >> 12}
	if e, ok := f.s.tlb[key]; ok {
		f.hit(e, addr, need)
		return
	}
	id := uint64(f.c.source())
	e, ok := f.entry(id, readByAccess)
	if !ok {
		return
	}
	w := amdWalk{f: f, addr: addr, need: need, level: uint8(spec.DteMode.Of(e[0])), rights: amdRights(e[0])}
	switch {
	case !spec.DteV.On(e[0]):
		f.lands(addr)
		return
	case !spec.DteTV.On(e[0]) || w.level > spec.MaxMode:
		f.dev(amdSilent)
		return
	case w.level == 0:
		w.pa, w.leaf = addr, w.rights
	case !w.walk(e[0]):
		f.pageFault(need, spec.DteSA.On(e[1]))
		return
	}
	if w.leaf != 0 {
		f.s.tlb[key] = amdTLB{w.pa &^ 0xfff, w.leaf, spec.DteDomainID.Of(e[1])}
	}
	if need&^w.leaf != 0 {
		f.dev(amdSilent)
		return
	}
	f.lands(w.pa&^0xfff | addr&0xfff)
}

// hit is an access that finds its translation. It looks at no table.
func (f *amdStory) hit(e amdTLB, addr uint64, need emu.Access) {
	own := f.c.model.Result()
	if need&^e.rights != 0 {
		f.dev(amdHitNotReported)
		return
	}
	f.lands(e.pa | addr&0xfff)
	switch {
	case own.Status == emu.Blocked && own.Fault.Code&0xf == spec.EventPageFault:
		f.dev(amdLeafRights)
		f.dev(amdTranslationsStay)
	case own.Status != emu.OK || own.PA != f.pa:
		f.dev(amdTranslationsStay)
	}
}

// pageFault logs an IO_PAGE_FAULT. The requester is there without its bus.
func (f *amdStory) pageFault(need emu.Access, suppressed bool) {
	if suppressed {
		f.dev(amdSuppression)
	}
	f.record(spec.EventPageFault, spec.EvtI.Mask()|uint64(need&emu.RW)<<48, uint64(f.c.source())&0xff)
}

func amdRights(w uint64) emu.Access { return emu.Access(spec.PteIR.Of(w) | spec.PteIW.Of(w)<<1) }

// amdWalk is a walk of host tables as the unit of QEMU does it: the rights of the last entry are those
// that count, and sizes and reserved bits are not looked at.
type amdWalk struct {
	f      *amdStory
	addr   uint64
	need   emu.Access
	level  uint8      // of the specification: of the table that is looked at
	rights emu.Access // of all entries so far

	pa   uint64 // where the address is
	leaf emu.Access
}

// walk returns false if there is no translation.
func (w *amdWalk) walk(entry uint64) bool {
	f := w.f
	if w.rights == 0 || w.level < spec.MaxMode && w.addr>>(12+9*w.level) != 0 {
		return false
	}
	for {
		at := emu.PA(entry&spec.PteAddr.Mask() + w.addr>>(9*w.level)&(511<<3))
		e, ok := f.load(at)
		if !ok {
			f.dev(amdTwoEvents)
			f.record(spec.EventPageTabHW, 0, uint64(f.c.source())&0xff)
			return false
		}
		if e == ^uint64(0) {
			return false
		}
		next := spec.PteNextLevel.Of(e)
		leaf := next == spec.NextLevelPage || next == spec.NextLevelSize
		if leaf && spec.PteReserved.On(e) || !leaf && spec.PdeReserved.On(e) {
			f.dev(amdReservedPaging)
		}
		w.rights &= amdRights(e)
		if w.rights == 0 {
			if next != spec.NextLevelPage {
				f.dev(amdRightsVanish)
			}
			return w.page(e, 12+9*(w.level-1))
		}
		switch {
		case !spec.PtePR.On(e):
			return false
		case leaf:
			return w.page(e, w.size(e, next))
		case next >= uint64(w.level):
			return false
		case w.addr>>(12+9*next)&(1<<(9*(uint64(w.level)-1-next))-1) != 0:
			f.dev(amdSkippedBits)
		}
		entry, w.level = e, uint8(next)
	}
}

// size returns the size of the page of an entry, log2.
func (w *amdWalk) size(e, next uint64) uint8 {
	lowest, highest := 12+9*(w.level-1), 12+9*w.level
	if w.level == spec.MaxMode {
		w.f.dev(amdPageSize)
	}
	if next == spec.NextLevelPage {
		return lowest
	}
	lg2, _ := spec.PageSizeLg2(e)
	if lg2 <= lowest || lg2 >= highest {
		w.f.dev(amdPageSize)
	}
	return lg2
}

// page ends the walk at an entry that maps 2^lg2 bytes, by whatever reason.
func (w *amdWalk) page(e uint64, lg2 uint8) bool {
	w.leaf = amdRights(e)
	if !spec.PtePR.On(e) || w.need&^w.leaf != 0 {
		return false
	}
	if w.need&^w.rights != 0 {
		w.f.dev(amdLeafRights)
	}
	offset := uint64(1)<<lg2 - 1
	w.pa = e&spec.PteAddr.Mask()&^offset | w.addr&offset
	return true
}
