package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// vtdDevices yields context entries in order of requester and, in scalable mode, the PASID entries of
// each behind it. Entries that are all 0 are left out.
func vtdDevices(s *snap, each func(*entry) error) error {
	rtaddr, ok := registerAt(s.regs.Image, spec.OffRTADDR, 8)
	if !ok {
		return fmt.Errorf("regs64[%#x]: missing, want RTADDR_REG", spec.OffRTADDR)
	}
	rta := emu.PA(spec.RtaddrRTA.Of(rtaddr) << emu.PageShift)
	for bus := range emu.PA(256) {
		r := s.read(rta+bus*16, 2)
		var err error
		switch spec.RtaddrTTM.Of(rtaddr) {
		case spec.TTMLegacy:
			if spec.RootP.Get(r) != 0 {
				err = vtdContexts(s, bus<<8, emu.PA(spec.RootCTP.Get(r)<<emu.PageShift), each)
			}
		case spec.TTMScalable:
			if spec.SMRootLP.Get(r) != 0 {
				err = vtdSMContexts(s, bus<<8, emu.PA(spec.SMRootLCTP.Get(r)<<emu.PageShift), each)
			}
			if err == nil && spec.SMRootUP.Get(r) != 0 {
				err = vtdSMContexts(s, bus<<8|0x80, emu.PA(spec.SMRootUCTP.Get(r)<<emu.PageShift), each)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func vtdContexts(s *snap, first, table emu.PA, each func(*entry) error) error {
	for devfn := range emu.PA(256) {
		e := entry{
			sid: emu.SourceID(first + devfn), pasid: emu.NoPASID, at: table + devfn*16,
			layout: &spec.ContextLayout, words: s.read(table+devfn*16, 2),
		}
		if zeros(e.words) {
			continue
		}
		e.root = root{
			kind: "second stage", table: emu.PA(spec.CtxSSPTPTR.Get(e.words) << emu.PageShift),
			levels: int(spec.CtxAW.Get(e.words)) + 2, domain: uint32(spec.CtxDID.Get(e.words)),
		}
		switch {
		case spec.CtxP.Get(e.words) == 0:
			e.root = root{kind: "not present"}
		case spec.CtxTT.Get(e.words) == 2:
			e.root = root{kind: "pass-through", domain: e.root.domain}
		}
		if err := each(&e); err != nil {
			return err
		}
	}
	return nil
}

func vtdSMContexts(s *snap, first, table emu.PA, each func(*entry) error) error {
	for i := range emu.PA(128) {
		e := entry{
			sid: emu.SourceID(first + i), pasid: emu.NoPASID, at: table + i*32,
			layout: &spec.SMContextLayout, words: s.read(table+i*32, 4), root: root{kind: "PASID table"},
		}
		if zeros(e.words) {
			continue
		}
		if spec.SMCtxP.Get(e.words) == 0 {
			e.root.kind = "not present"
		}
		if err := each(&e); err != nil {
			return err
		}
		if spec.SMCtxP.Get(e.words) != 0 {
			if err := vtdPASIDs(s, &e, each); err != nil {
				return err
			}
		}
	}
	return nil
}

// vtdPASIDs yields the PASID entries below a scalable-mode context entry.
func vtdPASIDs(s *snap, ctx *entry, each func(*entry) error) error {
	const perTable = 64
	dir := emu.PA(spec.SMCtxPASIDDIRPTR.Get(ctx.words) << emu.PageShift)
	for i := range emu.PA(1) << (spec.SMCtxPDTS.Get(ctx.words) + 7) {
		d := s.read(dir+i*8, 1)
		if spec.PDirP.Get(d) == 0 {
			continue
		}
		table := emu.PA(spec.PDirSMPTBLPTR.Get(d) << emu.PageShift)
		for j := range emu.PA(perTable) {
			e := entry{
				sid: ctx.sid, pasid: emu.PASID(i*perTable + j), at: table + j*64,
				layout: &spec.PASIDLayout, words: s.read(table+j*64, 8),
			}
			if zeros(e.words) {
				continue
			}
			e.root = vtdPASIDRoot(e.words)
			if err := each(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

func vtdPASIDRoot(w []uint64) root {
	r := root{domain: uint32(spec.PasidDID.Get(w))}
	second := func() {
		r.table = emu.PA(spec.PasidSSPTPTR.Get(w) << emu.PageShift)
		r.levels = int(spec.PasidAW.Get(w)) + 2
	}
	first := func() {
		r.table = emu.PA(spec.PasidFSPTPTR.Get(w) << emu.PageShift)
		r.levels = int(spec.PasidFSPM.Get(w)) + 4
	}
	switch pgtt := spec.PasidPGTT.Get(w); {
	case spec.PasidP.Get(w) == 0:
		return root{kind: "not present"}
	case pgtt == 1:
		r.kind = "first stage"
		first()
	case pgtt == 2:
		r.kind = "second stage"
		second()
	case pgtt == 3:
		r.kind = "nested, first stage" // its addresses are input of the second stage
		first()
	case pgtt == 4:
		r.kind = "pass-through"
	default:
		r.kind = fmt.Sprintf("reserved PGTT %d", pgtt)
	}
	return r
}

// vtdTable opens the tables that an entry points at. First-stage tables have no format yet.
func vtdTable(s *snap, r root) (*pagetable.Table, error) {
	if r.kind != "second stage" {
		return nil, nil
	}
	return pagetable.Open(pagetable.VTDSS{}, readOnly{s.mem}, nil, r.table, pagetable.Config{Levels: uint8(r.levels)})
}
