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
		r := s.read("root table", rta+bus*16, 2)
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
			layout: &spec.ContextLayout, words: s.read("context table", table+devfn*16, 2),
		}
		if zeros(e.words) {
			continue
		}
		e.root = root{
			kind: "second stage", table: emu.PA(spec.CtxSSPTPTR.Get(e.words) << emu.PageShift),
			levels: int(spec.CtxAW.Get(e.words)) + 2, domain: uint32(spec.CtxDID.Get(e.words)), format: s.vtdSecond(false),
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
			layout: &spec.SMContextLayout, words: s.read("context table", table+i*32, 4), root: root{kind: "PASID table"},
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
		d := s.read("PASID directory", dir+i*8, 1)
		if spec.PDirP.Get(d) == 0 {
			continue
		}
		table := emu.PA(spec.PDirSMPTBLPTR.Get(d) << emu.PageShift)
		for j := range emu.PA(perTable) {
			e := entry{
				sid: ctx.sid, pasid: emu.PASID(i*perTable + j), at: table + j*64,
				layout: &spec.PASIDLayout, words: s.read("PASID table", table+j*64, 8),
			}
			if zeros(e.words) {
				continue
			}
			e.root, e.parent = vtdPASIDRoots(s, e.words)
			if err := each(&e); err != nil {
				return err
			}
		}
	}
	return nil
}

// vtdPASIDRoots returns the tables of a PASID entry, and with nested translation those below them.
func vtdPASIDRoots(s *snap, w []uint64) (r, parent root) {
	domain := uint32(spec.PasidDID.Get(w))
	first := root{
		kind: "first stage", domain: domain, table: emu.PA(spec.PasidFSPTPTR.Get(w) << emu.PageShift),
		levels: int(spec.PasidFSPM.Get(w)) + 4, format: s.vtdFirst(spec.PasidNXE.Get(w) != 0), signed: true,
	}
	second := root{
		kind: "second stage", domain: domain, table: emu.PA(spec.PasidSSPTPTR.Get(w) << emu.PageShift),
		levels: int(spec.PasidAW.Get(w)) + 2, format: s.vtdSecond(spec.PasidSSEE.Get(w) != 0),
	}
	switch pgtt := spec.PasidPGTT.Get(w); {
	case spec.PasidP.Get(w) == 0:
		return root{kind: "not present"}, root{}
	case pgtt == spec.PGTTFirst:
		return first, root{}
	case pgtt == spec.PGTTSecond:
		return second, root{}
	case pgtt == spec.PGTTNested:
		first.kind = "nested, first stage"
		return first, second
	case pgtt == spec.PGTTPassThrough:
		return root{kind: "pass-through", domain: domain}, root{}
	default:
		return root{kind: fmt.Sprintf("reserved PGTT %d", pgtt), domain: domain}, root{}
	}
}

// vtdFirst is the format of first-stage tables as the unit has it. Its host address width is in no
// register.
func (s *snap) vtdFirst(nxe bool) pagetable.Format {
	f := pagetable.X86{NXE: nxe}
	if c, ok := registerAt(s.regs.Image, spec.OffCAP, 8); ok && !spec.CapFS1GP.On(c) {
		f.Without = 1 << 30
	}
	return f
}

// vtdSecond is the format of second-stage tables as the unit has it.
func (s *snap) vtdSecond(exec bool) pagetable.Format {
	f := pagetable.VTDSS{Exec: exec}
	if c, ok := registerAt(s.regs.Image, spec.OffCAP, 8); ok {
		if spec.CapSSLPS.Of(c)&spec.SSLPS2M == 0 {
			f.Without |= 1 << 21
		}
		if spec.CapSSLPS.Of(c)&spec.SSLPS1G == 0 {
			f.Without |= 1 << 30
		}
	}
	if e, ok := registerAt(s.regs.Image, spec.OffECAP, 8); ok {
		f.Snoop = spec.EcapSC.On(e)
	}
	return f
}
