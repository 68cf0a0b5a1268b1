package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// everyKind is one request of each kind.
func everyKind() map[string]emu.Request {
	q := dma(emu.Write)
	kinds := map[string]emu.Request{"plain": q}
	p := q
	p.PASID = 5
	kinds["with PASID"] = p
	for name, kind := range map[string]emu.ReqType{
		"translation": emu.TranslationReq, "translated": emu.Translated, "page": emu.PageRequest,
	} {
		k := q
		k.Type = kind
		kinds[name] = k
	}
	return kinds
}

func TestAbortModeAbortsEveryRequest(t *testing.T) {
	for _, config := range []func(*vtd.Config){dt, func(c *vtd.Config) { noScalable(c); dt(c) }} {
		r := newRig(t, config)
		r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.command(spec.GcmdTE, false)
		r.setRoot(spec.TTMAbort)
		r.command(spec.GcmdTE, true)
		for name, q := range everyKind() {
			res := r.Do(q)
			r.RequireFault(res, vtd.FaultAbortMode)
			require.False(t, res.Fault.Quiet || res.Fault.Abort, "%s: recorded, an unsupported request (table 30, RTA.4)", name)
		}
		rec := r.record(0)
		require.EqualValues(t, 0x33, rec.FR())
		q := emu.Request{Source: sid, Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: 5}
		require.Equal(t, emu.Interrupt, r.Do(q).Status, "interrupts are not DMA")
		// The queue runs.
		r.queue(true)
		r.push(ccInv(spec.GranGlobal, 0, 0, 0), 0)
		r.push(wait(1, r.status()))
		r.ring()
		require.EqualValues(t, 1, r.Get(r.status()))
		r.Put(r.status(), 0)
		r.command(spec.GcmdQIE, false)
		r.command(spec.GcmdTE, false)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	}
}

func TestAbortModeWithoutADMSIsAnInvalidTableMode(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.ADMS, c.DT = false, true })
	r.setRoot(spec.TTMAbort)
	r.command(spec.GcmdTE, true)
	for name, q := range everyKind() {
		res := r.Do(q)
		r.RequireFault(res, vtd.FaultTTM)
		require.False(t, res.Fault.Quiet, name)
		rec := r.record(0)
		require.EqualValues(t, vtd.FaultTTM, rec.FR())
		r.clearFaults()
		r.u.Reset(emu.ResetCold)
		r.setRoot(spec.TTMAbort)
		r.command(spec.GcmdTE, true)
	}
	r.queue(true)
	r.submit(wait(1, r.status()))
	require.EqualValues(t, spec.IQEITTM, r.iqei())
}

// Software changes the mode with TE=0, or with ESRTPS (11.4.5). The unit takes it at SRTP in any case: what is in
// flight ends in the mode that it began in, what comes after uses the new one.
func TestVTDQuirk57_TableModeInForceIsThatOfTheLastSRTP(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	s := r.Begin(dma(emu.Read))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Step == vtd.StepContext })
	old := r.root
	r.root = r.Page()
	r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 8), iova, 0x6000, ssRW)
	r.setRoot(spec.TTMScalable)
	r.RequireOK(s.End(), 0x5000)
	r.queue(true)
	r.push(ccInv(spec.GranGlobal, 0, 0, 0), 0)
	r.push(iotlbInv(spec.GranGlobal, 0), 0)
	r.ring()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
	// A mode that is only written changes nothing.
	r.W64(spec.OffRTADDR, uint64(old))
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
}

func TestTurningTranslationOffAndOnInOneBreath(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
	r.legacy()
	// TE=0 is taken back before the command engine came to it.
	w := r.u.WriteReg(spec.OffGCMD, 4, 0)
	w |= r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdTE.Mask())
	r.F.Wake(w)
	require.True(t, spec.GstsTES.On(r.R32(spec.OffGSTS)))
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
}

func TestCommandTakenBackWhileItDrains(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.u.WriteReg(spec.OffGCMD, 4, 0)
	s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpDelay })
	r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdTE.Mask())
	for s.Next() {
	}
	require.True(t, spec.GstsTES.On(r.R32(spec.OffGSTS)), "both commands are done, in order")
}

func TestSeveralCommandsInOneWriteTakeEffectOneByOne(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.RWBF = true })
	r.W64(spec.OffRTADDR, uint64(r.root)|spec.RtaddrTTM.Put(spec.TTMScalable))
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdSRTP.Mask()|spec.GcmdWBF.Mask()|spec.GcmdTE.Mask()|spec.GcmdQIE.Mask())
	require.Equal(t, spec.GstsWBFS.Mask(), r.R32(spec.OffGSTS), "one-shots show at once: RTPS down, WBFS up")
	// Steps of the engine: each command takes effect before the next one begins.
	var seen []uint64
	r.F.Trace = func(*emu.Txn) {
		if v := r.R32(spec.OffGSTS); len(seen) == 0 || seen[len(seen)-1] != v {
			seen = append(seen, v)
		}
	}
	r.F.Wake(w)
	rtps, qies, tes := spec.GstsRTPS.Mask(), spec.GstsQIES.Mask(), spec.GstsTES.Mask()
	require.Equal(t, []uint64{spec.GstsWBFS.Mask(), spec.GstsWBFS.Mask() | rtps, rtps, rtps | qies, rtps | qies | tes}, seen)
}

func TestProtectedRegionCorners(t *testing.T) {
	r := newRig(t)
	for _, off := range []uint32{spec.OffPLMBASE, spec.OffPLMLIMIT} {
		r.W32(off, 0xffff_ffff)
		require.EqualValues(t, 0xffe0_0000, r.R32(off))
		r.W32(off, 0)
	}
	for _, off := range []uint32{spec.OffPHMBASE, spec.OffPHMLIMIT} {
		r.W64(off, ^uint64(0))
		require.EqualValues(t, 0xffff_ffe0_0000, r.R64(off), "as wide as the host address")
		r.W64(off, 0)
	}
	// Base above limit is no region.
	r.W32(spec.OffPLMBASE, 0x80_0000)
	r.W32(spec.OffPLMLIMIT, 0x40_0000)
	r.W64(spec.OffPHMBASE, 0x2_0000_0000)
	r.W64(spec.OffPHMLIMIT, 0x1_0000_0000)
	r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
	for _, addr := range []uint64{0x40_0000, 0x60_0000, 0x80_0000, 0x1_0000_0000, 0x2_0000_0000} {
		r.RequireOK(r.Access(sid, addr, emu.Write), addr)
	}
	// EPM is a request, PRS the answer.
	w := r.u.WriteReg(spec.OffPMEN, 4, 0)
	require.EqualValues(t, 1, r.R32(spec.OffPMEN))
	r.F.Wake(w)
	require.Zero(t, r.R32(spec.OffPMEN))
}

func TestUnitsWithOneProtectedRegionOrNone(t *testing.T) {
	for _, c := range []struct{ low, high bool }{{true, false}, {false, true}, {false, false}} {
		r := newRig(t, func(cfg *vtd.Config) { cfg.PLMR, cfg.PHMR = c.low, c.high })
		r.W32(spec.OffPLMLIMIT, 0xffff_ffff)
		r.W64(spec.OffPHMLIMIT, ^uint64(0))
		r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
		require.Equal(t, c.low || c.high, spec.PmenPRS.On(r.R32(spec.OffPMEN)))
		require.Equal(t, c.low, r.Access(sid, 0x40_0000, emu.Read).Status == emu.Blocked && r.R32(spec.OffPLMLIMIT) != 0)
		require.Equal(t, c.high, r.R64(spec.OffPHMLIMIT) != 0)
	}
}

func TestWideDescriptorCorners(t *testing.T) {
	newWide := func(qs uint64) *rig {
		r := newRig(t)
		r.iq = 0x100_0000
		r.W64(spec.OffIQA, uint64(r.iq)|spec.IqaDW.Mask()|qs)
		r.command(spec.GcmdQIE, true)
		return r
	}
	// The last slot of a large queue: the head wraps behind it.
	r := newWide(3)
	const end = 8 * 4096
	for off := uint64(0); off < end; off += 32 {
		lo, hi := wait(off+1, r.status())
		r.Put(r.iq+emu.PA(off), lo, hi, 0, 0)
	}
	r.W32(spec.OffIQT, end-32)
	require.EqualValues(t, end-63, r.Get(r.status()))
	r.W32(spec.OffIQT, 0)
	require.EqualValues(t, end-31, r.Get(r.status()))
	require.Zero(t, r.head())
	// Alignment is looked at before the end of the queue.
	for tail, want := range map[uint64]uint64{
		16: spec.IQEITailAlign, 4096: spec.IQEITail, 4096 + 16: spec.IQEITailAlign, 4096 - 16: spec.IQEITailAlign,
	} {
		r := newWide(0)
		r.W32(spec.OffIQT, tail)
		require.Equal(t, want, r.iqei(), "%#x", tail)
		// A tail that is right, then the error cleared: it goes on.
		lo, hi := wait(9, r.status())
		r.Put(r.iq, lo, hi, 0, 0)
		r.W32(spec.OffIQT, 32)
		require.Zero(t, r.Get(r.status()), "stopped")
		r.clearIQE()
		require.EqualValues(t, 9, r.Get(r.status()))
	}
	// With 128-bit descriptors any 16-byte tail is good.
	r = newRig(t)
	r.queue(false)
	r.submit(wait(1, r.status()))
	require.EqualValues(t, 16, r.head())
	require.EqualValues(t, 1, r.Get(r.status()))
	// Both words of the upper half are reserved in every type.
	for _, word := range []emu.PA{16, 24} {
		r := newWide(0)
		lo, hi := wait(1, r.status())
		r.Put(r.iq, lo, hi, 0, 0)
		r.Put(r.iq+word, 1<<63)
		r.W32(spec.OffIQT, 32)
		require.EqualValues(t, spec.IQEIReserved, r.iqei())
	}
	// The unit reads wide descriptors in one piece.
	r = newWide(0)
	r.u.WriteReg(spec.OffIQT, 4, 32)
	s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineQueue, PASID: emu.NoPASID})
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch })
	require.EqualValues(t, 32, s.Txn.Act.Size)
}

// Which width is right depends on what the unit has and on the table mode in force when the queue
// is looked at.
func TestDescriptorWidthByUnitAndMode(t *testing.T) {
	both := func(c *vtd.Config) {}
	neither := func(c *vtd.Config) { noScalable(c); c.ADMS = false }
	abort := noScalable
	for _, c := range []struct {
		name   string
		config func(*vtd.Config)
		ttm    uint64
		wide   bool
		want   uint64
	}{
		{"legacy, narrow", both, spec.TTMLegacy, false, spec.IQEINone},
		{"legacy, wide", both, spec.TTMLegacy, true, spec.IQEINone},
		{"scalable, narrow", both, spec.TTMScalable, false, spec.IQEIWidth},
		{"scalable, wide", both, spec.TTMScalable, true, spec.IQEINone},
		{"abort, narrow", both, spec.TTMAbort, false, spec.IQEIWidth},
		{"abort, wide", both, spec.TTMAbort, true, spec.IQEINone},
		{"reserved mode", both, spec.TTMReserved, true, spec.IQEITTM},
		{"abort only, wide", abort, spec.TTMAbort, true, spec.IQEINone},
		{"abort only, scalable", abort, spec.TTMScalable, true, spec.IQEITTM},
		{"legacy unit, narrow", neither, spec.TTMLegacy, false, spec.IQEINone},
		{"legacy unit, wide", neither, spec.TTMLegacy, true, spec.IQEIWidth},
		{"legacy unit, abort", neither, spec.TTMAbort, false, spec.IQEITTM},
	} {
		r := newRig(t, c.config)
		r.setRoot(c.ttm)
		r.queue(c.wide)
		r.submit(wait(1, r.status()))
		require.Equal(t, c.want, r.iqei(), c.name)
		require.Equal(t, c.want == spec.IQEINone, r.Get(r.status()) == 1, c.name)
	}
}

func TestVersionsBelow6ServeTheRegisterInterface(t *testing.T) {
	for major := range uint8(16) {
		r := newRig(t, func(c *vtd.Config) { c.VersionMajor, c.VersionMinor, c.ERS = major, 3, false })
		require.EqualValues(t, uint64(major)<<4|3, r.R32(spec.OffVER))
		r.attach(sid, 7)
		r.legacy()
		r.Access(sid, iova, emu.Read)
		r.W64(spec.OffCCMD, spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(spec.GranGlobal))
		r.W64(r.u.Config().IOTLBOffset+spec.OffIOTLB, spec.IotlbIVT.Mask()|spec.IotlbIIRG.Put(spec.GranGlobal))
		served := uint64(spec.GranGlobal)
		if major >= 6 {
			served = 0
		}
		require.EqualValues(t, served, spec.CcmdCAIG.Of(r.R64(spec.OffCCMD)))
		require.EqualValues(t, served, spec.IotlbIAIG.Of(r.R64(r.u.Config().IOTLBOffset+spec.OffIOTLB)))
		require.EqualValues(t, served, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
	}
}

// Turning translation off empties the caches of a unit with scalable mode (11.4.4.1), whatever came
// meanwhile.
func TestTurningTranslationOffEmptiesTheCaches(t *testing.T) {
	for _, sm := range []bool{true, false} {
		r := newRig(t, func(c *vtd.Config) {
			if !sm {
				c.NoScalable()
			}
		})
		at := r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.Put(at, 0x6000|ssRW)
		r.u.WriteReg(spec.OffGCMD, 4, 0)
		s := r.Begin(emu.Request{Type: emu.Job, Job: vtd.EngineCommand, PASID: emu.NoPASID})
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpInvalidate })
		require.True(t, spec.GstsTES.On(r.R32(spec.OffGSTS)))
		b := emutest.Save(r.u)
		if sm { // what comes from now on is not translated: nothing new is cached
			for i := range emu.NumCaches {
				if c := r.u.Cache(i); c != nil && s.Txn.Act.Sel.Caches.Has(i) {
					c.Invalidate(&s.Txn.Act.Sel)
				}
			}
			r.RequireOK(r.Access(sid, iova, emu.Read), iova)
			u, err := vtd.New(r.u.Config())
			require.NoError(t, err)
			require.NoError(t, u.Restore(emu.NewDecoder(b)))
			var res emu.Result
			emu.NewFunctional(u, r.Mem).Translate(&emu.Request{Source: sid, Addr: iova, PASID: emu.NoPASID, Len: 64, Access: emu.Read}, &res)
			r.RequireOK(res, iova) // a checkpoint knows it too
		}
		for s.Next() {
		}
		require.False(t, spec.GstsTES.On(r.R32(spec.OffGSTS)))
		r.command(spec.GcmdTE, true)
		want := uint64(0x6000)
		if !sm {
			want = 0x5000 // stale, until software flushes
		}
		r.RequireOK(r.Access(sid, iova, emu.Read), want)
	}
}

func TestTurningInterruptRemappingOffEmptiesTheCacheOnlyWithESIRTPS(t *testing.T) {
	for _, es := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.ESIRTPS = es })
		table := r.remapping(false)
		r.putIRTE(table, 5, irte(0x41))
		r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, 0x4041)
		r.putIRTE(table, 5, irte(0x42))
		r.command(spec.GcmdIRE, false)
		r.command(spec.GcmdIRE, true)
		want := uint32(0x4041)
		if es {
			want = 0x4042
		}
		r.interrupts(r.irq(sid, handle(5), 0), 0xfee0_2000, want)
	}
}

// From version 2 on protected regions hold for translated DMA too (11.4.8.1).
func TestProtectedRegionsHoldForAllDMAFromVersion2(t *testing.T) {
	for _, major := range []uint8{1, 2, 5} {
		r := newRig(t, func(c *vtd.Config) { c.VersionMajor = major }, dt)
		top := r.attach(sid, 7)
		r.mapPage(top, iova, 0x40_0000, ssRW)
		r.mapPage(top, iova+4096, 0x80_0000, ssRW)
		r.legacy()
		r.W32(spec.OffPLMBASE, 0x40_0000)
		r.W32(spec.OffPLMLIMIT, 0x60_0000)
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x40_0000)
		r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
		for range 3 {
			r.RequireOK(r.Access(sid, iova+4096, emu.Read), 0x80_0000)
			res := r.Access(sid, iova, emu.Read)
			if major < 2 {
				r.RequireOK(res, 0x40_0000)
				continue
			}
			r.RequireFault(res, vtd.FaultProtected)
			require.True(t, res.Fault.Quiet)
			require.Equal(t, emu.CacheIOTLB.Set(), res.Touched&emu.CacheIOTLB.Set())
		}
		require.Zero(t, r.R32(spec.OffFSTS))
		r.u.Reset(emu.ResetWarm)
		r.W32(spec.OffPMEN, 0)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x40_0000)
	}
}
