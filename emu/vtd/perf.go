package vtd

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// PerfConfig is what PERFCAP_REG, the offset registers behind it and the capability registers of the
// counters will advertise (10.1, 11.4.13). Overflow can always interrupt.
type PerfConfig struct {
	Counters int    // 1 to 64
	Width    uint8  // bits of a counter, 8 to 64
	Filters  uint8  // bit n: filter n of spec.FilterRequester and so on
	CWE      bool   // software may write a counter while it is enabled
	GFS      bool   // overflow can freeze all counters
	CfgOff   uint32 // of the configuration blocks, spec.PerfBlock bytes for each counter
	FrzOff   uint32 // of PERFFRZSTS_REG, 8 bytes
	OvfOff   uint32 // of PERFOVFSTS_REG, 8 bytes
	CntrOff  uint32 // of the first counter
	Stride   uint32 // bytes from counter to counter: 2^10 to 2^17
	// Events are the events offered, by group. Those that the unit cannot count are left out in any
	// case. All zero: all that it can count.
	Events [spec.NumEventGroups]uint32
	// Limited are the events of counters that count only some of these, by counter and group; one
	// that is missing here, or has none, counts all.
	Limited [][spec.NumEventGroups]uint32
}

// DefaultPerf is eight counters of 48 bits with all filters and events, behind the first 4 KiB of
// the window.
func DefaultPerf() PerfConfig {
	return PerfConfig{
		Counters: 8, Width: 48, Filters: 1<<spec.NumFilters - 1, GFS: true,
		FrzOff: 0x1000, OvfOff: 0x1008, CfgOff: 0x1100, CntrOff: 0x2000, Stride: 1 << 10,
	}
}

const (
	minStride = 1 << 10
	maxStride = 1 << 17
)

// check returns the field that is wrong and why, or "".
func (p *PerfConfig) check() (field, problem string) {
	fits := func(off, align uint32, n int, step uint32) bool {
		return off%align == 0 && uint64(off)+uint64(n)*uint64(step) <= spec.MaxWindow
	}
	const misfit = "%#x with %d counters is not aligned or does not fit the window"
	switch {
	case p.Counters < 1 || p.Counters > spec.MaxPerfCounters:
		return "Counters", fmt.Sprintf("%d is not in 1 to %d", p.Counters, spec.MaxPerfCounters)
	case p.Width < 8 || p.Width > 64:
		return "Width", fmt.Sprintf("%d is not in 8 to 64", p.Width)
	case p.Filters>>spec.NumFilters != 0:
		return "Filters", fmt.Sprintf("%#x has a reserved filter", p.Filters)
	case p.Stride < minStride || p.Stride > maxStride || p.Stride&(p.Stride-1) != 0:
		return "Stride", fmt.Sprintf("%#x is not a power of two from %#x to %#x", p.Stride, minStride, maxStride)
	case !fits(p.CfgOff, spec.PerfBlock, p.Counters, spec.PerfBlock):
		return "CfgOff", fmt.Sprintf(misfit, p.CfgOff, p.Counters)
	case !fits(p.FrzOff, 8, 1, 8):
		return "FrzOff", fmt.Sprintf(misfit, p.FrzOff, p.Counters)
	case !fits(p.OvfOff, 8, 1, 8):
		return "OvfOff", fmt.Sprintf(misfit, p.OvfOff, p.Counters)
	case !fits(p.CntrOff, p.Stride, p.Counters, p.Stride):
		return "CntrOff", fmt.Sprintf(misfit, p.CntrOff, p.Counters)
	case len(p.Limited) > p.Counters:
		return "Limited", fmt.Sprintf("%d of %d counters", len(p.Limited), p.Counters)
	}
	return "", ""
}

// Window returns the size of the register window: spec.Window, or the power of two that the
// counters need. A DRHD structure tells software (8.3).
func (c *Config) Window() uint32 {
	end := uint32(spec.Window)
	if p := &c.Perf; c.PMS {
		n := uint32(p.Counters)
		end = max(end, p.CfgOff+n*spec.PerfBlock, p.FrzOff+8, p.OvfOff+8, p.CntrOff+(n-1)*p.Stride+8)
	}
	return 1 << bits.Len32(end-1)
}

// Registers of performance monitoring, relative to u.perf.base: a unit without PMS has none.
const (
	pCAP = iota
	pCFGOFF
	pFRZOFF
	pOVFOFF
	pCNTROFF
	pINTRSTS
	pINTRCTL
	pINTRDATA
	pINTRADDR
	pINTRUADDR
	pECMD
	pECEO
	pECRSP
	pECCAP3
	pFRZSTS
	pOVFSTS
	pEVNTCAP                                  // the first of one per event group
	pCounter = pEVNTCAP + spec.NumEventGroups // the first register of the first counter
)

// Registers of one counter, relative to its first.
const (
	cCNTR = iota
	cCFG
	cCAP
	cFilter                             // the first of one per filter
	cEvents = cFilter + spec.NumFilters // the first of one per event group
	cLen    = cEvents + spec.NumEventGroups
)

// perfReg returns the index of register r of performance monitoring.
func (u *Unit) perfReg(r int) int { return u.perf.base + r }

// counterReg returns the index of register r of counter i.
func (u *Unit) counterReg(i, r int) int { return u.perf.base + pCounter + i*cLen + r }

// perfRegisters returns the registers of performance monitoring and of the enhanced commands.
func (u *Unit) perfRegisters() []reg.Reg {
	c, p := &u.cfg, &u.cfg.Perf
	if !c.PMS {
		return nil
	}
	ro := func(name string, off uint32, size uint8, v uint64, l *reg.Layout) reg.Reg {
		return reg.Reg{Name: name, Off: off, Size: size, Reset: v, Layout: l}
	}
	uaddr := uint64(0)
	if c.EIM {
		uaddr = 0xffff_ffff
	}
	events := u.perfEvents()
	t := []reg.Reg{
		pCAP:     ro("PERFCAP_REG", spec.OffPERFCAP, 8, p.word(events), &spec.PERFCAPLayout),
		pCFGOFF:  ro("PERFCFGOFF_REG", spec.OffPERFCFGOFF, 4, uint64(p.CfgOff), nil),
		pFRZOFF:  ro("PERFFRZOFF_REG", spec.OffPERFFRZOFF, 4, uint64(p.FrzOff), nil),
		pOVFOFF:  ro("PERFOVFOFF_REG", spec.OffPERFOVFOFF, 4, uint64(p.OvfOff), nil),
		pCNTROFF: ro("PERFCNTROFF_REG", spec.OffPERFCNTROFF, 4, uint64(p.CntrOff), nil),
		pINTRSTS: {Name: "PERFINTRSTS_REG", Off: spec.OffPERFINTRSTS, Size: 4, W1C: spec.PerfintrPIS.Mask(),
			Effect: effPerfStatus, Layout: &spec.PERFINTRSTSLayout},
		pINTRCTL: {Name: "PERFINTRCTL_REG", Off: spec.OffPERFINTRCTL, Size: 4, Reset: spec.EventIM.Put(1),
			RW: spec.EventIM.Mask(), Effect: effPerfEvent, Layout: &spec.FECTLLayout},
		pINTRDATA:  {Name: "PERFINTRDATA_REG", Off: spec.OffPERFINTRDATA, Size: 4, RW: spec.EventData.Mask()},
		pINTRADDR:  {Name: "PERFINTRADDR_REG", Off: spec.OffPERFINTRADDR, Size: 4, RW: spec.EventAddr.Mask()},
		pINTRUADDR: {Name: "PERFINTRUADDR_REG", Off: spec.OffPERFINTRUADDR, Size: 4, RW: uaddr},
		pECMD: {Name: "ECMD_REG", Off: spec.OffECMD, Size: 8, WO: true, RW: spec.EcmdCMD.Mask() | spec.EcmdOA.Mask(),
			Effect: effECMD, Layout: &spec.ECMDLayout},
		pECEO:  {Name: "ECEO_REG", Off: spec.OffECEO, Size: 8, WO: true, RW: ^uint64(0), Effect: effECEO, Layout: &spec.ECEOLayout},
		pECRSP: ro("ECRSP_REG", spec.OffECRSP, 8, 0, &spec.ECRSPLayout),
		pECCAP3: ro("ECCAP_REG_3", spec.OffECCAP0+24, 8, spec.Eccap3ECNTS.Put(1)|spec.Eccap3DCNTS.Put(1)|
			spec.Eccap3RCFGS.Put(1)|spec.Eccap3RCNTS.Put(1)|spec.Eccap3FCNTS.Put(1)|spec.Eccap3UFCNTS.Put(1), nil),
		pFRZSTS: ro("PERFFRZSTS_REG", p.FrzOff, 8, 0, &spec.PERFFRZSTSLayout),
		pOVFSTS: {Name: "PERFOVFSTS_REG", Off: p.OvfOff, Size: 8, W1C: u.allCounters(), Layout: &spec.PERFOVFSTSLayout},
	}
	for g, es := range events {
		t = append(t, ro(fmt.Sprintf("PERFEVNTCAP_REG[%d]", g), spec.OffPERFEVNTCAP0+8*uint32(g), 8, uint64(es), &spec.PERFEVNTCAPLayout))
	}
	for i := range p.Counters {
		t = append(t, u.counterRegisters(i, events)...)
	}
	return t
}

// allCounters is the set of counters that there are.
func (u *Unit) allCounters() uint64 { return reg.Ones(uint8(u.cfg.Perf.Counters)) }

// counterRegisters returns the registers of counter i.
func (u *Unit) counterRegisters(i int, events [spec.NumEventGroups]uint32) []reg.Reg {
	p := &u.cfg.Perf
	block := p.CfgOff + uint32(i)*spec.PerfBlock
	name := func(n string) string { return fmt.Sprintf("%s[%d]", n, i) }
	cfg := spec.CntrcfgIO.Mask() | spec.CntrcfgEGI.Mask() | spec.CntrcfgES.Mask()
	if p.GFS {
		cfg |= spec.CntrcfgGFO.Mask()
	}
	t := make([]reg.Reg, cLen)
	t[cCNTR] = reg.Reg{Name: name("PERFCNTR_REG"), Off: p.CntrOff + uint32(i)*p.Stride, Size: 8,
		RW: reg.Ones(p.Width), Effect: effCounter, Layout: &spec.PERFCNTRLayout}
	t[cCFG] = reg.Reg{Name: name("PERFCNTRCFG_REG"), Off: block + spec.OffPERFCNTRCFG, Size: 8,
		RW: cfg, Effect: effCounter, Layout: &spec.PERFCNTRCFGLayout}
	for f := range uint32(spec.NumFilters) {
		r := reg.Reg{Name: name(fmt.Sprintf("PERFCNTR_FLTR_REG%d", f)), Off: block + spec.OffFilter0 + 4*f, Size: 4, Effect: effCounter}
		if p.Filters>>f&1 != 0 {
			r.RW = spec.FilterEN.Mask() | filterFields[f]
		}
		t[cFilter+int(f)] = r
	}
	n, limited := 0, p.limits(i)
	for g := range spec.NumEventGroups {
		t[cEvents+g] = reg.Reg{Name: name(fmt.Sprintf("PERFCNTREVCAP_REG%d", g)), Off: block + spec.OffCNTREVCAP0 + 4*uint32(g), Size: 4}
		if limited && p.Limited[i][g] != 0 {
			t[cEvents+n].Reset = spec.CntrevcapES.Put(uint64(p.Limited[i][g]&events[g])) | spec.CntrevcapEGI.Put(uint64(g))
			n++
		}
	}
	can := uint64(0)
	if len(p.Limited) > 0 {
		can = spec.CntrcapPCC.PutBool(limited) | spec.CntrcapCW.Put(uint64(p.Width)) | spec.CntrcapIOS.Put(1) |
			spec.CntrcapGFS.PutBool(p.GFS) | spec.CntrcapEGCNT.Put(uint64(n))
	}
	t[cCAP] = reg.Reg{Name: name("PERFCNTRCAP_REG"), Off: block + spec.OffPERFCNTRCAP, Size: 4, Reset: can}
	return t
}

// limits reports whether counter i has capabilities of its own.
func (p *PerfConfig) limits(i int) bool {
	return i < len(p.Limited) && p.Limited[i] != [spec.NumEventGroups]uint32{}
}

// filterFields are the fields of each filter, EN apart.
var filterFields = [spec.NumFilters]uint64{
	spec.FilterRequester: spec.FilterRID.Mask(),
	spec.FilterDomain:    spec.FilterDID.Mask(),
	spec.FilterPASID:     spec.FilterPV.Mask() | spec.FilterPFM.Mask(),
	spec.FilterAT:        spec.FilterBitmap.Mask(),
	spec.FilterLevel:     spec.FilterBitmap.Mask(),
}

// word composes PERFCAP_REG.
func (p *PerfConfig) word(events [spec.NumEventGroups]uint32) uint64 {
	groups := 0
	for g, e := range events {
		if e != 0 {
			groups = g + 1
		}
	}
	return spec.PerfcapNCNTR.Put(uint64(p.Counters)) | spec.PerfcapCW.Put(uint64(p.Width)) |
		spec.PerfcapEGCNT.Put(uint64(groups)) | spec.PerfcapFS.Put(uint64(p.Filters)) |
		spec.PerfcapCWE.PutBool(p.CWE) | spec.PerfcapGFS.PutBool(p.GFS) | spec.PerfcapIOS.Put(1) |
		spec.PerfcapPCCS.PutBool(len(p.Limited) > 0) |
		spec.PerfcapCS.Put(uint64(bits.TrailingZeros32(p.Stride/minStride)))
}

// perfEvents returns the events that the unit offers, by group (table 49): what its other
// capabilities can make happen, and what happens in time only if it has a clock.
func (u *Unit) perfEvents() [spec.NumEventGroups]uint32 {
	c := &u.cfg
	e := [spec.NumEventGroups]uint32{
		spec.GroupGeneral: spec.EventRequests,
		spec.GroupMemory:  spec.EventReads,
		spec.GroupCaches:  spec.EventContextLookup | spec.EventContextHit | spec.EventSSLookup | spec.EventSSHit,
		spec.GroupIOTLB:   spec.EventIOTLBLookup | spec.EventIOTLBHit,
	}
	for _, x := range []struct {
		have  bool
		group int
		event uint32
	}{
		{u.perf.clock != nil, spec.GroupGeneral, timeEvents},
		{c.SSADS || c.FSTS, spec.GroupMemory, spec.EventADUpdate},
		{c.PRS, spec.GroupMemory, spec.EventPagePosted | spec.EventPageOverflow},
		{c.SMTS, spec.GroupCaches, spec.EventPASIDLookup | spec.EventPASIDHit},
		{c.FSTS, spec.GroupCaches, spec.EventFSLookup | spec.EventFSHit},
		{c.IR, spec.GroupInterrupt, spec.EventIntLookup | spec.EventIntHit},
		{c.IR && c.PI, spec.GroupInterrupt, spec.EventIntHitPosted},
	} {
		if x.have {
			e[x.group] |= x.event
		}
	}
	if offered := c.Perf.Events; offered != [spec.NumEventGroups]uint32{} {
		for g := range e {
			e[g] &= offered[g]
		}
	}
	return e
}

// UseClock implements emu.Clocked: the unit can now count what happens in time.
func (u *Unit) UseClock(c emu.Clock) {
	u.perf.clock = c
	if !u.cfg.PMS {
		return
	}
	for i, r := range u.perfRegisters() {
		if old := u.reg.Reg(u.perfReg(i)); old.Reset != r.Reset {
			old.Reset = r.Reset
			u.reg.Set(u.perfReg(i), r.Reset)
		}
	}
	u.setPerf()
}
