package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// amdviSnap is what the registers of a snapshot say about its tables.
type amdviSnap struct {
	*snap
	control, efr uint64
}

func newAMDVi(s *snap) (*amdviSnap, error) {
	a := amdviSnap{snap: s}
	var ok [2]bool
	a.control, ok[0] = registerAt(s.regs.Image, spec.OffControl, 8)
	a.efr, ok[1] = registerAt(s.regs.Image, spec.OffEFR, 8)
	switch {
	case !ok[0]:
		return nil, fmt.Errorf("regs64[%#x]: missing, want Control", spec.OffControl)
	case !ok[1]:
		return nil, fmt.Errorf("regs64[%#x]: missing, want Extended Feature", spec.OffEFR)
	}
	return &a, nil
}

// dteAt returns where the DTE of a requester is, and false if the device table is too short.
func (a *amdviSnap) dteAt(sid emu.SourceID) (emu.PA, bool) {
	n := min(spec.CtlDevTblSegEn.Of(a.control), spec.EfrDevTblSegSup.Of(a.efr))
	table, entries, err := a.segment(uint32(sid)>>(16-n), n)
	index := uint32(sid) & (1<<(16-n) - 1)
	return table + emu.PA(index)*spec.DTESize, err == nil && index < entries && sid>>16 == 0
}

// segment returns address and length of a device table segment; there are 2^n.
func (a *amdviSnap) segment(seg uint32, n uint64) (table emu.PA, entries uint32, err error) {
	off := uint32(spec.OffDevTabBase)
	if seg != 0 {
		off = spec.OffDevTabSeg1 + 8*(seg-1)
	}
	base, ok := registerAt(a.regs.Image, off, 8)
	if !ok {
		return 0, 0, fmt.Errorf("regs64[%#x]: missing, want the base of device table segment %d", off, seg)
	}
	return emu.PA(base & spec.DevTabBase.Mask()), min((uint32(spec.DevTabSize.Of(base))+1)*(emu.PageSize/spec.DTESize), 1<<(16-n)), nil
}

// dtes yields the device table entries that are not all 0, segment by segment, in order of requester
// (2.2.2, 3.4: the upper bits of a DeviceID select the segment).
func (a *amdviSnap) dtes(each func(sid emu.SourceID, at emu.PA, e *spec.DTE) error) error {
	n := min(spec.CtlDevTblSegEn.Of(a.control), spec.EfrDevTblSegSup.Of(a.efr))
	for seg := range uint32(1) << n {
		table, entries, err := a.segment(seg, n)
		if err != nil {
			return err
		}
		for i := range entries {
			at := table + emu.PA(i)*spec.DTESize
			words := a.read("device table", at, 4)
			if zeros(words) {
				continue
			}
			if err := each(emu.SourceID(seg<<(16-n)|i), at, (*spec.DTE)(words)); err != nil {
				return err
			}
		}
	}
	return nil
}

// amdviDevices yields device table entries and, behind each with guest translation, its GCR3 table
// entries as those of its PASIDs.
func amdviDevices(s *snap, each func(*entry) error) error {
	a, err := newAMDVi(s)
	if err != nil {
		return err
	}
	return a.dtes(func(sid emu.SourceID, at emu.PA, e *spec.DTE) error {
		x := entry{sid: sid, pasid: emu.NoPASID, at: at, layout: &spec.DTELayout, words: e[:]}
		host := a.host(e)
		guest := e.V() && e.TV() && e.GV() && spec.CtlGTEn.On(a.control)
		switch {
		case !e.V():
			x.root, x.idle = root{kind: "untranslated (V=0)"}, true
		case !e.TV():
			x.root, x.idle = root{kind: "blocked (TV=0)"}, true
		case guest && e.GIoV():
			x.root = root{kind: "guest table of PASID 0", domain: host.domain}
		default:
			x.root, x.idle = host, host.levels == 0 && !guest
		}
		if err := each(&x); err != nil || !guest {
			return err
		}
		return a.pasids(sid, e, host, each)
	})
}

// host returns the host table of a DTE with V=1 and TV=1.
func (a *amdviSnap) host(e *spec.DTE) root {
	r := root{kind: "host (v1)", domain: uint32(e.DomainID())}
	switch mode := e.Mode(); {
	case mode != spec.ModeIdentity:
		r.table, r.levels = e.HostRoot(), int(mode)
		r.format = pagetable.AMDv1{
			MaxLevels: 4 + uint8(spec.EfrHATS.Of(a.efr)), Dirty: spec.DteHAD.Of(e[0]) == spec.HADAD,
		}
	case e.IR() || e.IW():
		r.kind = "identity (Mode=0)"
	default:
		r.kind = "blocked (Mode=0 without rights)"
	}
	return r
}

// gcr3 is the GCR3 table of a DTE.
type gcr3 struct {
	a    *amdviSnap
	sid  emu.SourceID
	dte  *spec.DTE
	host root
	view *tableView // through which it is read
	each func(*entry) error
}

// pasids yields the entries of the GCR3 table. It is at system physical addresses or, with
// GCR3TRPMode, at guest physical ones (2.2.6).
func (a *amdviSnap) pasids(sid emu.SourceID, e *spec.DTE, host root, each func(*entry) error) error {
	g := gcr3{a: a, sid: sid, dte: e, host: host, view: newTableView(a.snap), each: each}
	if spec.CtlGCR3TRPMode.On(a.control) && host.levels != 0 {
		if err := g.view.over(host); err != nil {
			a.note("GCR3 table of %s: %v", showSID(sid), err)
			return nil
		}
	}
	g.view.left = a.mem.Allocated() * (emu.PageSize / 8) * 2 // each entry has one PASID
	err := g.table(e.GCR3Root(), uint(e.GLX()), 0)
	if g.view.lost != "" {
		a.note("GCR3 table of %s: %s", showSID(sid), g.view.lost)
	}
	if err == nil && g.view.tired() {
		err = fmt.Errorf("GCR3 table of %s: many times more entries than the snapshot has, want tables that end", showSID(sid))
	}
	return err
}

// table yields what is below the table of a level: the PASIDs from first on.
func (g *gcr3) table(at uint64, level uint, first uint64) error {
	for i := range uint64(512) {
		pasid := first + i<<(9*level)
		if pasid > uint64(emu.MaxPASID) || g.view.tired() {
			return nil
		}
		slot := emu.PA(at + 8*i)
		w := g.view.Load64(slot)
		var err error
		switch {
		case w == 0:
		case level == 0:
			err = g.entry(emu.PASID(pasid), slot, w)
		case spec.Gcr3V.On(w):
			err = g.table(w&spec.Gcr3Addr.Mask(), level-1, pasid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (g *gcr3) entry(p emu.PASID, at emu.PA, w uint64) error {
	x := entry{sid: g.sid, pasid: p, at: at, layout: &spec.GCR3Layout, words: []uint64{w}}
	switch {
	case !spec.Gcr3V.On(w):
		x.root.kind = "not valid (V=0)"
	case uint64(p)>>(spec.EfrPASmax.Of(g.a.efr)+1) != 0:
		x.root.kind = "not to be reached: beyond PASmax"
	default:
		unsigned := p == 0 && g.dte.GIoV() // as requests without PASID see it
		f := pagetable.X86{NXE: true, Unsigned: unsigned}
		x.root = root{
			kind: "guest (v2)", table: emu.PA(w & spec.Gcr3Addr.Mask()), levels: 4 + int(g.dte.GuestPagingMode()),
			domain: g.host.domain, format: f, signed: !unsigned,
		}
		if g.host.levels != 0 {
			x.root.kind = "nested, guest (v2)"
			x.parent = g.host
		}
	}
	return g.each(&x)
}
