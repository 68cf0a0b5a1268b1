package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// rig is a unit on a memory with the tables that tests need.
type rig struct {
	*emutest.Rig
	u    *vtd.Unit
	root emu.PA
	iq   emu.PA
	tail uint64
}

const (
	sid    = emu.SourceID(0x0310) // bus 3, devfn 10h
	hiSID  = emu.SourceID(0x0390) // the same bus, upper half
	msiTo  = 0xfee0_1000
	feData = 0x41
	ieData = 0x42
)

func newRig(t testing.TB, change ...func(*vtd.Config)) *rig {
	c := vtd.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := vtd.New(c)
	require.NoError(t, err)
	r := &rig{Rig: emutest.New(t, u), u: u}
	r.Faults = faults
	r.root = r.Page()
	return r
}

// become makes u the rig's unit.
func (r *rig) become(u *vtd.Unit) {
	r.u = u
	r.Use(u)
}

// command writes GCMD as a driver does: present levels, one bit changed.
func (r *rig) command(b reg.Bits, on bool) {
	v := r.R32(spec.OffGSTS) & 0x96ff_ffff &^ b.Mask()
	r.W32(spec.OffGCMD, v|b.PutBool(on))
}

func (r *rig) setRoot(ttm uint64) {
	r.W64(spec.OffRTADDR, uint64(r.root)|spec.RtaddrTTM.Put(ttm))
	r.command(spec.GcmdSRTP, true)
}

// legacy and scalable turn translation on.
func (r *rig) legacy()   { r.setRoot(spec.TTMLegacy); r.command(spec.GcmdTE, true) }
func (r *rig) scalable() { r.setRoot(spec.TTMScalable); r.command(spec.GcmdTE, true) }

// queue turns the invalidation queue on.
func (r *rig) queue(wide bool) {
	r.iq = r.Page()
	r.tail = 0
	r.W64(spec.OffIQT, 0)
	r.W64(spec.OffIQA, uint64(r.iq)|spec.IqaDW.PutBool(wide))
	r.command(spec.GcmdQIE, true)
}

func (r *rig) wide() bool { return spec.IqaDW.On(r.R64(spec.OffIQA)) }

// push puts a descriptor at the tail without telling the unit.
func (r *rig) push(lo, hi uint64) {
	r.Put(r.iq+emu.PA(r.tail), lo, hi)
	size := uint64(spec.DescSize128)
	if r.wide() {
		r.Put(r.iq+emu.PA(r.tail)+16, 0, 0)
		size = spec.DescSize256
	}
	r.tail = (r.tail + size) % emu.PageSize
}

func (r *rig) ring() { r.W32(spec.OffIQT, r.tail) }

// submit pushes one descriptor and rings the bell.
func (r *rig) submit(lo, hi uint64) {
	r.push(lo, hi)
	r.ring()
}

func wait(data uint64, at emu.PA) (lo, hi uint64) {
	return spec.PutDescType(spec.DescWait) | spec.IwSW.Put(1) | spec.IwDATA.Put(data), uint64(at)
}

func ccInv(g, did, source, fm uint64) uint64 {
	return spec.PutDescType(spec.DescContext) | spec.CcG.Put(g) | spec.CcDID.Put(did) | spec.CcSID.Put(source) | spec.CcFM.Put(fm)
}

func iotlbInv(g, did uint64) uint64 {
	return spec.PutDescType(spec.DescIOTLB) | spec.IiG.Put(g) | spec.IiDID.Put(did)
}

func pcInv(g, did, p uint64) uint64 {
	return spec.PutDescType(spec.DescPASIDCache) | spec.PcG.Put(g) | spec.PcDID.Put(did) | spec.PcPASID.Put(p)
}

func pageInv(addr, am uint64, ih bool) uint64 {
	return addr | spec.IiAM.Put(am) | spec.IiIH.PutBool(ih)
}

// context returns where the legacy context entry of s is; it makes the table.
func (r *rig) context(s emu.SourceID) emu.PA {
	at := r.root + emu.PA(s>>8)*16
	if r.Get(at) == 0 {
		r.Put(at, uint64(r.Page())|spec.RootP.Put(1))
	}
	return emu.PA(r.Get(at)&spec.RootCTP.Mask()) + emu.PA(s&0xff)*16
}

func legacyEntry(tt uint64, top emu.PA, aw, did uint64) [2]uint64 {
	return [2]uint64{
		spec.CtxP.Put(1) | spec.CtxTT.Put(tt) | uint64(top),
		spec.CtxAW.Put(aw) | spec.CtxDID.Put(did),
	}
}

// attach gives s a legacy context entry and returns its second-stage table.
func (r *rig) attach(s emu.SourceID, did uint64) emu.PA {
	top := r.Page()
	e := legacyEntry(spec.TTUntranslated, top, spec.AW48, did)
	r.Put(r.context(s), e[0], e[1])
	return top
}

// smContext returns where the scalable context entry of s is; it makes the table.
func (r *rig) smContext(s emu.SourceID) emu.PA {
	at := r.root + emu.PA(s>>8)*16 + emu.PA(s>>7&1)*8
	if r.Get(at) == 0 {
		r.Put(at, uint64(r.Page())|spec.SMRootLP.Put(1))
	}
	return emu.PA(r.Get(at)&spec.SMRootLCTP.Mask()) + emu.PA(s&0x7f)*32
}

// pasidEntry returns where the PASID entry of s and p is; it makes what leads to it.
func (r *rig) pasidEntry(s emu.SourceID, p emu.PASID) emu.PA {
	ctx := r.smContext(s)
	if r.Get(ctx) == 0 {
		r.Put(ctx, uint64(r.Page())|spec.SMCtxP.Put(1)|spec.SMCtxPASIDE.Put(1))
	}
	dir := emu.PA(r.Get(ctx)&spec.SMCtxPASIDDIRPTR.Mask()) + emu.PA(p>>6)*8
	if r.Get(dir) == 0 {
		r.Put(dir, uint64(r.Page())|spec.PDirP.Put(1))
	}
	return emu.PA(r.Get(dir)&spec.PDirSMPTBLPTR.Mask()) + emu.PA(p&63)*64
}

// bind gives (s, p) a PASID entry and returns its second-stage table. set adds fields.
func (r *rig) bind(s emu.SourceID, p emu.PASID, pgtt, did uint64, set ...func(e []uint64)) emu.PA {
	top := r.Page()
	e := make([]uint64, 8)
	spec.PasidP.Set(e, 1)
	spec.PasidPGTT.Set(e, pgtt)
	spec.PasidAW.Set(e, spec.AW48)
	spec.PasidDID.Set(e, did)
	spec.PasidPWSNP.Set(e, 1)
	e[0] |= uint64(top)
	for _, f := range set {
		f(e)
	}
	r.Put(r.pasidEntry(s, p), e...)
	return top
}

func with(b reg.Bits, v uint64) func([]uint64) { return func(e []uint64) { b.Set(e, v) } }

const (
	ssR  = uint64(1)
	ssW  = uint64(2)
	ssRW = ssR | ssW
	ssX  = uint64(4)
)

// pte returns where the entry for iova at a level is, making tables below the 4-level table top.
func (r *rig) pte(top emu.PA, iova uint64, level int) emu.PA {
	for l := 3; ; l-- {
		at := top + emu.PA(iova>>(12+9*l)&511)*8
		if l == level {
			return at
		}
		if r.Get(at) == 0 {
			r.Put(at, uint64(r.Page())|ssRW|ssX)
		}
		top = emu.PA(r.Get(at) & spec.SSADDR.Mask())
	}
}

// mapPage maps one 4 KiB page and returns where its entry is.
func (r *rig) mapPage(top emu.PA, iova, pa, bits uint64) emu.PA {
	at := r.pte(top, iova, 0)
	r.Put(at, pa|bits)
	return at
}

func (r *rig) pasidAccess(p emu.PASID, iova uint64, a emu.Access) emu.Result {
	return r.Do(emu.Request{Source: sid, Addr: emu.IOVA(iova), PASID: p, Len: 64, Access: a})
}

// record returns fault record i.
func (r *rig) record(i int) spec.FaultRecord {
	off := r.u.Config().FaultOffset + uint32(16*i)
	return spec.FaultRecord{r.R64(off), r.R64(off + 8)}
}

// clearFaults does what a driver does.
func (r *rig) clearFaults() {
	for i := range r.u.Config().FaultRecords {
		r.W32(r.u.Config().FaultOffset+uint32(16*i)+spec.FRCDStatus, spec.FrF.Of(^uint64(0))<<31)
	}
	r.W32(spec.OffFSTS, spec.FstsPFO.Mask()|spec.FstsPPF.Mask())
}

// unmask programs both event interrupts and unmasks them.
func (r *rig) unmask() {
	for off, data := range map[uint32]uint64{spec.OffFECTL: feData, spec.OffIECTL: ieData} {
		r.W32(off+4, data)
		r.W32(off+8, msiTo)
		r.W32(off, 0)
	}
}
