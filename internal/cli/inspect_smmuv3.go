package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// smmuv3Snap is what the registers of a snapshot say about its tables.
type smmuv3Snap struct {
	*snap
	idr0, idr1, idr3, idr5 uint64
	cr2                    uint64
}

func newSMMUv3(s *snap) (*smmuv3Snap, error) {
	a := smmuv3Snap{snap: s}
	for _, r := range []struct {
		name string
		off  uint32
		to   *uint64
	}{
		{"IDR0", spec.OffIDR0, &a.idr0}, {"IDR1", spec.OffIDR1, &a.idr1}, {"IDR3", spec.OffIDR3, &a.idr3},
		{"IDR5", spec.OffIDR5, &a.idr5}, {"CR2", spec.OffCR2, &a.cr2},
	} {
		var ok bool
		if *r.to, ok = registerAt(s.regs.Image, r.off, 4); !ok {
			return nil, fmt.Errorf("regs32[%#x]: missing, want %s", r.off, r.name)
		}
	}
	return &a, nil
}

// smmuv3Devices yields stream table entries and, behind each with stage 1, its context descriptors as those of
// its SubstreamIDs; that of transactions without one is 0.
func smmuv3Devices(s *snap, each func(*entry) error) error {
	a, err := newSMMUv3(s)
	if err != nil {
		return err
	}
	base, ok := registerAt(s.regs.Image, spec.OffSTRTABBase, 8)
	if !ok {
		return fmt.Errorf("regs64[%#x]: missing, want STRTAB_BASE", spec.OffSTRTABBase)
	}
	cfg, ok := registerAt(s.regs.Image, spec.OffSTRTABBaseCfg, 4)
	if !ok {
		return fmt.Errorf("regs32[%#x]: missing, want STRTAB_BASE_CFG", spec.OffSTRTABBaseCfg)
	}
	ste := func(first uint64, table emu.PA) func(uint64) error {
		return func(i uint64) error {
			at := table + emu.PA(i)*spec.STESize
			return a.stream(emu.SourceID(first+i), at, (*spec.STE)(a.read("stream table", at, 8)), each)
		}
	}
	table := emu.PA(base & spec.StrtabAddr.Mask())
	log2 := min(spec.StrtabLog2.Of(cfg), spec.Idr1SIDSIZE.Of(a.idr1), spec.MaxSIDSIZE)
	if spec.StrtabFmt.Of(cfg) != spec.StrtabFmt2Lvl || spec.Idr0STLevel.Of(a.idr0) != spec.STLevel2 {
		table = alignDown(table, spec.StrtabLog2.Of(cfg)+6)
		return a.covered("stream table", table, 1<<log2, spec.STESize, ste(0, table))
	}
	split := spec.StrtabSplit.Of(cfg)
	if split != 8 && split != 10 {
		split = 6
	}
	if l := spec.StrtabLog2.Of(cfg); l > split {
		table = alignDown(table, l-split+3)
	}
	first := uint64(0)
	if log2 > split {
		first = log2 - split
	}
	return a.covered("level 1 stream table", table, 1<<first, spec.DescSize, func(i uint64) error {
		d := spec.L1STD(a.read("level 1 stream table", table+emu.PA(8*i), 1)[0])
		if d.STEs() > 1<<split {
			a.note("level 1 stream table at %#x: entry %d: a table of %d STEs, want up to %d", uint64(table), i, d.STEs(), 1<<split)
			return nil
		}
		return a.covered("stream table", d.L2Ptr(), min(d.STEs(), 1<<log2), spec.STESize, ste(i<<split, d.L2Ptr()))
	})
}

// alignDown clears the low n bits of an address.
func alignDown(pa emu.PA, n uint64) emu.PA { return pa &^ (1<<min(n, 63) - 1) }

// stream yields an STE and the CDs behind it.
func (a *smmuv3Snap) stream(sid emu.SourceID, at emu.PA, e *spec.STE, each func(*entry) error) error {
	if zeros(e[:]) {
		return nil
	}
	x := entry{sid: sid, pasid: emu.NoPASID, at: at, layout: &spec.STELayout, words: e[:], idle: true}
	var parent root
	switch {
	case !e.V():
		x.root.kind = "not valid"
	case !e.S1() && !e.S2() && e.Config() == spec.ConfigBypass:
		x.root.kind = "bypass"
	case !e.S1() && !e.S2():
		x.root.kind = "abort"
	case !e.S1():
		x.root, x.idle = a.stage2(e), false
	default:
		x.root, x.idle = root{kind: "stage 1"}, false
		if e.S2() {
			x.root.kind, parent = "stage 1 and 2", a.stage2(e)
		}
	}
	if err := each(&x); err != nil || !e.V() || !e.S1() {
		return err
	}
	return a.contexts(sid, e, parent, each)
}

// stage2 returns the tables of stage 2 of an STE.
func (a *smmuv3Snap) stage2(e *spec.STE) root {
	r := root{kind: "stage 2", domain: uint32(e.S2VMID()), table: emu.PA(e.S2TTB()), big: spec.SteS2ENDI.Get(e[:]) != 0}
	g := spec.GranuleTG0(spec.SteS2TG.Get(e[:]))
	start, ok := spec.S2StartLevel(g, spec.SteS2SL0.Get(e[:])|spec.SteS2SL02.Get(e[:])<<2)
	if g == 0 || !ok {
		r.kind = "stage 2 with a reserved granule or start level"
		return r
	}
	oas := a.outputBits(spec.SteS2PS.Get(e[:]))
	r.levels, r.vaBits = int(start)+1, uint8(64-spec.SteS2T0SZ.Get(e[:]))
	r.table = startTable(r, g, oas)
	httu := spec.Idr0HTTU.Of(a.idr0)
	ha := spec.SteS2HA.Get(e[:]) != 0 && httu != spec.HTTUNone
	r.format = pagetable.LPAES2{
		Granule: uint8(g), OAS: oas, LPA: a.wide(g, spec.SteS2DS.Get(e[:])),
		HA: ha || spec.SteS2AFFD.Get(e[:]) != 0, HD: ha && spec.SteS2HD.Get(e[:]) != 0 && httu >= spec.HTTUDirty,
		FWB: spec.SteS2FWB.Get(e[:]) != 0, Exec: true,
	}
	return r
}

// startTable returns where the table of r begins: aligned to its size, and to 64 bytes where addresses have
// more than 48 bits.
func startTable(r root, g spec.Granule, oas uint8) emu.PA {
	lg2 := uint64(0)
	if top := g.Shift(int8(r.levels - 1)); r.vaBits > top {
		lg2 = uint64(r.vaBits-top) + 3
	}
	if oas > 48 {
		lg2 = max(lg2, 6)
	}
	return alignDown(r.table, lg2)
}

// outputBits is the lesser of a size that an entry has and that of the unit.
func (a *smmuv3Snap) outputBits(code uint64) uint8 {
	return min(spec.OASBits(code), spec.OASBits(spec.Idr5OAS.Of(a.idr5)))
}

// wide reports whether descriptors hold addresses of 52 bits: with DS, and with the granule of 64 KiB in a
// unit that has as many.
func (a *smmuv3Snap) wide(g spec.Granule, ds uint64) bool {
	if g == spec.Granule64K {
		return spec.Idr5OAS.Of(a.idr5) >= spec.OAS52
	}
	return ds != 0 && spec.Idr5DS.On(a.idr5)
}

// stage1 returns the tables of a CD: of the lower and the upper half of its addresses. In EL2 there is only
// the lower one, which is always on.
func (a *smmuv3Snap) stage1(c *spec.CD, e *spec.STE) (list []root) {
	httu := spec.Idr0HTTU.Of(a.idr0)
	ha := spec.CdHA.Get(c[:]) != 0 && httu != spec.HTTUNone
	el2 := !e.S2() && spec.Idr0HYP.On(a.idr0) && spec.SteSTRW.Get(e[:]) == spec.STRWEL2 && !spec.Cr2E2H.On(a.cr2)
	oas := a.outputBits(spec.CdIPS.Get(c[:]))
	half := func(kind string, off uint64, g spec.Granule, tsz uint64, had, tbi bool, ttb uint64) {
		if off != 0 && !el2 {
			return
		}
		r := root{
			kind: kind, table: emu.PA(ttb), domain: uint32(c.ASID()), vaBits: uint8(64 - tsz), tbi: tbi,
			big: spec.CdENDI.Get(c[:]) != 0, wxn: spec.CdWXN.Get(c[:]) != 0,
		}
		if g == 0 {
			r.kind += " with a reserved granule"
			list = append(list, r)
			return
		}
		for bits := uint8(g); bits < r.vaBits; bits += g.Stride() {
			r.levels++
		}
		r.format = pagetable.LPAES1{
			Granule: uint8(g), OAS: oas, LPA: a.wide(g, spec.CdDS.Get(c[:])),
			HA: ha || spec.CdAFFD.Get(c[:]) != 0, HD: ha && spec.CdHD.Get(c[:]) != 0 && httu >= spec.HTTUDirty,
			HAD: had, Exec: true, Privileged: el2,
		}
		r.table = startTable(r, g, oas)
		list = append(list, r)
	}
	hads := spec.Idr3HAD.On(a.idr3)
	half("stage 1", spec.CdEPD0.Get(c[:]), spec.GranuleTG0(spec.CdTG0.Get(c[:])), spec.CdT0SZ.Get(c[:]),
		hads && spec.CdHAD0.Get(c[:]) != 0, spec.CdTBI0.Get(c[:]) != 0, c.TTB0())
	if el2 {
		return list
	}
	n := len(list)
	half("stage 1, upper half", spec.CdEPD1.Get(c[:]), spec.GranuleTG1(spec.CdTG1.Get(c[:])), spec.CdT1SZ.Get(c[:]),
		hads && spec.CdHAD1.Get(c[:]) != 0, spec.CdTBI1.Get(c[:]) != 0, c.TTB1())
	for i := range list[n:] {
		list[n+i].upper = true
	}
	return list
}

// cdTable is the table of CDs of a stream. Its addresses are intermediate ones if stage 2 translates.
type cdTable struct {
	a      *smmuv3Snap
	sid    emu.SourceID
	ste    *spec.STE
	parent root
	view   *tableView
	each   func(*entry) error
}

// contexts yields the CDs of an STE: one, a linear table, or one of two levels (5.2: S1Fmt, S1CDMax).
func (a *smmuv3Snap) contexts(sid emu.SourceID, e *spec.STE, parent root, each func(*entry) error) error {
	t := cdTable{a: a, sid: sid, ste: e, parent: parent, view: newTableView(a.snap), each: each}
	if parent.levels != 0 {
		if err := t.view.over(parent); err != nil {
			a.note("CD table of %s: %v", showSID(sid), err)
			return nil
		}
	}
	t.view.left = a.mem.Allocated() * (emu.PageSize / 8) * 2 // each entry has one SubstreamID
	at, log2 := emu.PA(e.S1ContextPtr()), min(e.S1CDMax(), spec.Idr1SSIDSIZE.Of(a.idr1))
	var err error
	if split := uint64(spec.CDSplit(spec.SteS1Fmt.Get(e[:]))); split != 0 && log2 != 0 {
		leaf := min(log2, split)
		if log2 > leaf {
			at = alignDown(at, log2-leaf+3)
		}
		err = t.entries(uint64(at), 1<<(log2-leaf), spec.DescSize, func(i uint64, at emu.PA) error {
			d := t.view.Load64(at)
			if !spec.L1cdV.On(d) {
				return nil
			}
			return t.leaf(uint64(alignDown(emu.PA(d&spec.L1cdL2Ptr.Mask()), split+6)), 1<<leaf, i<<split)
		})
	} else {
		err = t.leaf(uint64(alignDown(at, log2+6)), 1<<log2, 0)
	}
	if t.view.lost != "" {
		a.note("CD table of %s: %s", showSID(sid), t.view.lost)
	}
	if err == nil && t.view.tired() {
		err = fmt.Errorf("CD table of %s: many times more entries than the snapshot has, want tables that end", showSID(sid))
	}
	return err
}

// entries calls each for the entries of a table, page by page; it leaves out pages that cannot be read.
func (t *cdTable) entries(table uint64, n uint64, bytes uint64, each func(i uint64, at emu.PA) error) error {
	for i := uint64(0); i < n && !t.view.tired(); i++ {
		at := emu.PA(table + i*bytes)
		if i == 0 || at%emu.PageSize == 0 {
			lost := t.view.lost
			t.view.lost = ""
			t.view.Load64(at)
			missing := t.view.lost != ""
			if lost != "" {
				t.view.lost = lost
			}
			if missing {
				i += (emu.PageSize-uint64(at)%emu.PageSize)/bytes - 1
				continue
			}
		}
		if err := each(i, at); err != nil {
			return err
		}
	}
	return nil
}

// leaf yields the CDs of a table: the SubstreamIDs from first on.
func (t *cdTable) leaf(table uint64, n, first uint64) error {
	return t.entries(table, n, spec.CDSize, func(i uint64, at emu.PA) error {
		var c spec.CD
		for w := range c {
			c[w] = t.view.Load64(at + emu.PA(8*w))
		}
		if zeros(c[:]) {
			return nil
		}
		x := entry{sid: t.sid, pasid: emu.PASID(first + i), at: at, layout: &spec.CDLayout, words: c[:], parent: t.parent}
		if !c.V() {
			x.root.kind, x.parent = "not valid", root{}
			return t.each(&x)
		}
		roots := t.a.stage1(&c, t.ste)
		if len(roots) == 0 {
			x.root.kind = "no walks (EPD0, EPD1)"
			return t.each(&x)
		}
		if t.parent.levels != 0 {
			for k := range roots {
				roots[k].kind = "nested, " + roots[k].kind
			}
		}
		x.root, x.more = roots[0], roots[1:]
		return t.each(&x)
	})
}
