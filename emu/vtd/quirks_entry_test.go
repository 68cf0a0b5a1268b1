package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func TestVTDQuirk21_FPDCountsInEntriesThatAreNotPresent(t *testing.T) {
	r := newRig(t)
	r.Put(r.context(sid), spec.CtxFPD.Mask())
	r.legacy()
	res := r.Access(sid, iova, emu.Read)
	r.RequireFault(res, vtd.FaultContextAbsent)
	require.True(t, res.Fault.Quiet)

	for _, where := range []string{"context", "directory", "entry"} {
		r = newRig(t)
		at := r.pasidEntry(sid, 0)
		ctx := r.smContext(sid)
		dir := emu.PA(r.Get(ctx) & spec.SMCtxPASIDDIRPTR.Mask())
		code := uint16(vtd.FaultPASIDAbsent)
		switch where {
		case "context":
			r.Put(ctx, spec.SMCtxFPD.Mask())
			code = vtd.FaultContextAbsentSM
		case "directory":
			r.Put(dir, spec.PDirFPD.Mask())
			code = vtd.FaultPASIDDirAbsent
		case "entry":
			r.Put(at, spec.PasidFPD.Mask())
		}
		r.scalable()
		res = r.Access(sid, iova, emu.Read)
		r.RequireFault(res, code)
		require.True(t, res.Fault.Quiet, where)
		require.Zero(t, r.R32(spec.OffFSTS))
	}

	// FPD of the directory also holds for faults further on, from the caches too.
	r = newRig(t)
	r.bind(sid, 0, spec.PGTTSecond, 7)
	dir := emu.PA(r.Get(r.smContext(sid)) & spec.SMCtxPASIDDIRPTR.Mask())
	r.Put(dir, r.Get(dir)|spec.PDirFPD.Mask())
	r.scalable()
	for range 2 {
		require.True(t, r.Access(sid, iova, emu.Read).Fault.Quiet)
	}
	// Faults that are not qualified are recorded all the same.
	r.BusError(r.root, 4096)
	r.submitGlobal()
	res = r.Access(sid, iova, emu.Read)
	r.RequireFault(res, vtd.FaultRootReadSM)
	require.False(t, res.Fault.Quiet)
}

// submitGlobal flushes everything.
func (r *rig) submitGlobal() {
	if !spec.GstsQIES.On(r.R32(spec.OffGSTS)) {
		r.queue(spec.EcapSMTS.On(r.R64(spec.OffECAP)))
	}
	r.push(ccInv(spec.GranGlobal, 0, 0, 0), 0)
	if r.wide() {
		r.push(pcInv(spec.GranPCGlobal, 0, 0), 0)
	}
	r.push(iotlbInv(spec.GranGlobal, 0), 0)
	r.ring()
}

func TestVTDQuirk22_PresentBeforeReservedRightsBeforeReserved(t *testing.T) {
	r := newRig(t)
	r.Put(r.context(sid), 1<<4)
	r.legacy()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultContextAbsent)
	top := r.attach(sid, 7)
	at := r.mapPage(top, iova, 0x5000, ssR|1<<62)
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultWrite)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultSSReserved)
	r.Put(at, 1<<62)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
}

func TestVTDQuirk23_AbsentSecondStageEntryHasItsOwnReasonOnlyInScalableMode(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.attach(sid, 7), iova, 0, 0)
	r.legacy()
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultWrite)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
	r = newRig(t)
	at := r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7), iova, 0, 0)
	r.scalable()
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultSSAbsent)
	r.Put(at, 0x5000|ssR)
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultWriteSM)
	r.Put(at, 0x5000|ssW)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultReadSM)
}

func TestVTDQuirk24_ReservedBitsOfSecondStageEntries(t *testing.T) {
	for _, c := range []struct {
		level int
		bits  uint64
		bad   bool
	}{
		{0, ssRW | 1<<62, true},
		{0, ssRW | 1<<11, false}, // SNP
		{0, ssRW | 1<<7, false},  // ignored in a 4K entry
		{0, ssRW | 0x7ff<<52&^(1<<62), false},
		{1, ssRW | 1<<11, true},
		{1, ssRW | 1<<7 | 1<<11, false},
		{3, ssRW | 1<<7, true},
	} {
		r := newRig(t)
		top := r.attach(sid, 7)
		next := r.Page()
		if c.level == 1 && c.bits&(1<<7) != 0 {
			next = 0x20_0000
		}
		r.Put(r.pte(top, iova, c.level), c.bits|uint64(next))
		r.legacy()
		res := r.Access(sid, iova, emu.Read)
		require.Equal(t, c.bad, res.Fault.Code == vtd.FaultSSReserved, "level %d %#x: %#x", c.level, c.bits, res.Fault.Code)
	}
}

func TestVTDQuirk25_DIDAndAWSitElsewhereInEachEntry(t *testing.T) {
	e := []uint64{0, 0xab<<8 | 2}
	require.EqualValues(t, 0xab, spec.CtxDID.Get(e))
	require.EqualValues(t, 2, spec.CtxAW.Get(e))
	p := []uint64{2 << 2, 0xab}
	require.EqualValues(t, 0xab, spec.PasidDID.Get(p))
	require.EqualValues(t, 2, spec.PasidAW.Get(p))
}

func TestVTDQuirk26_AWIsLevelsMinusTwo(t *testing.T) {
	for aw, levels := range map[uint64]int{spec.AW39: 3, spec.AW48: 4, spec.AW57: 5} {
		r := newRig(t, func(c *vtd.Config) { c.SAGAW = uint8(spec.SAGAW39 | spec.SAGAW48 | spec.SAGAW57) })
		top := r.Page()
		e := legacyEntry(spec.TTUntranslated, top, aw, 7)
		r.Put(r.context(sid), e[0], e[1])
		at := top
		for l := levels - 1; l > 0; l-- {
			next := r.Page()
			r.Put(at+emu.PA(iova>>(12+9*l)&511)*8, uint64(next)|ssRW)
			at = next
		}
		r.Put(at+emu.PA(iova>>12&511)*8, 0x5000|ssRW)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.RequireFault(r.Access(sid, 1<<(12+9*levels), emu.Read), vtd.FaultWidth)
		// Pass-through wants the largest.
		e = legacyEntry(spec.TTPassThrough, 0, aw, 8)
		r.Put(r.context(hiSID), e[0], e[1])
		if res := r.Access(hiSID, iova, emu.Read); aw == spec.AW57 {
			r.RequireOK(res, iova)
		} else {
			r.RequireFault(res, vtd.FaultWidth)
		}
	}
}

func TestVTDQuirk27_UpperHalfOfTheBusUsesTheUpperRootWord(t *testing.T) {
	r := newRig(t)
	for i, s := range []emu.SourceID{sid, hiSID} {
		top := r.bind(s, 0, spec.PGTTSecond, uint64(7+i))
		r.mapPage(top, iova, uint64(0x5000+i<<12), ssRW)
	}
	require.NotZero(t, r.Get(r.root+emu.PA(sid>>8)*16+8))
	r.scalable()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.RequireOK(r.Access(hiSID, iova, emu.Read), 0x6000)
}

func TestVTDQuirk28_PDTSBoundsPASIDs(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 1<<13-1, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.scalable()
	r.RequireOK(r.pasidAccess(1<<13-1, iova, emu.Read), 0x5000)
	r.RequireFault(r.pasidAccess(1<<13, iova, emu.Read), vtd.FaultPASIDRange)
	ctx := r.smContext(sid)
	r.Put(ctx, r.Get(ctx)|spec.SMCtxPDTS.Put(1))
	r.submitGlobal()
	r.RequireFault(r.pasidAccess(1<<13, iova, emu.Read), vtd.FaultPASIDDirAbsent)
}

func TestVTDQuirk29_OnlyWritesWithoutPASIDAreInterrupts(t *testing.T) {
	r := newRig(t)
	r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), 0xfee0_0000, 0x5000, ssRW)
	r.scalable()
	msi := emu.Request{Source: sid, Addr: 0xfee0_0000, PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: 0x31}
	res := r.Do(msi)
	require.Equal(t, emu.Interrupt, res.Status)
	require.EqualValues(t, 0xfee0_0000, res.PA)
	require.EqualValues(t, 0x31, res.Data)
	msi.PASID = 5
	r.RequireOK(r.Do(msi), 0x5000)
	r.RequireOK(r.Do(msi), 0x5000)
}

func TestVTDQuirk29_OutputRangeCountsByThePageAccessed(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.Put(r.pte(top, 0x4000_0000, 1), 0xfee0_0000|ssRW|1<<7) // 2 MiB: FEEx_xxxx and FEFx_xxxx
	r.legacy()
	r.RequireOK(r.Access(sid, 0x4010_0000, emu.Read), 0xfef0_0000)
	r.RequireFault(r.Access(sid, 0x4000_0000, emu.Read), vtd.FaultOutputRange)
	r.RequireOK(r.Access(sid, 0x4010_0000, emu.Read), 0xfef0_0000)
	r.RequireFault(r.Access(sid, 0x400f_f000, emu.Read), vtd.FaultOutputRange)
}

func TestVTDQuirk30_DevicesOfADomainShareTranslations(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	at := r.mapPage(top, iova, 0x5000, ssRW)
	e := legacyEntry(spec.TTUntranslated, r.Page(), spec.AW48, 7) // same domain, another table
	r.Put(r.context(hiSID), e[0], e[1])
	r.legacy()
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	res := r.Access(hiSID, iova, emu.Read)
	r.RequireOK(res, 0x5000)
	require.Equal(t, at, res.Prov.Leaf)
	require.NotEqual(t, res.Prov.Entry, res.Prov.Fill, "provenance tells whose translation it is")
}

func TestVTDQuirk31_PageSelectiveInvalidationByClass(t *testing.T) {
	TestInvalidationReachesWhatItNames(t)
}

func TestVTDQuirk32_InvalidationIsByTheOldDomain(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	r.queue(false)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.attach(sid, 8)
	r.submit(ccInv(spec.GranDevice, 8, uint64(sid), 0), 0) // the new domain: too late
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.submit(ccInv(spec.GranDevice, 7, uint64(sid), 0), 0)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
}

func TestVTDQuirk33_PASIDCacheAndIOTLBAreNotInclusive(t *testing.T) {
	r := newRig(t)
	top := r.bind(sid, 5, spec.PGTTSecond, 7)
	at := r.mapPage(top, iova, 0x5000, ssRW)
	r.scalable()
	r.queue(true)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
	r.Put(at, 0x6000|ssRW)
	r.submit(pcInv(spec.GranPCGlobal, 0, 0), 0)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000) // IOTLB still there
	r.Put(r.pasidEntry(sid, 5), 0)
	r.submit(iotlbInv(spec.GranGlobal, 0), 0)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x6000) // PASID-cache still there
}

func TestVTDQuirk35_CachingModeKeepsAbsentEntries(t *testing.T) {
	cm := func(c *vtd.Config) { c.CM = true }
	// Legacy context: announced by a device-selective invalidation with domain 0.
	r := newRig(t, cm)
	r.context(sid)
	r.legacy()
	r.queue(false)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultContextAbsent)
	top := r.attach(sid, 7)
	at := r.mapPage(top, iova, 0, 0)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultContextAbsent)
	r.submit(ccInv(spec.GranDevice, 0, uint64(sid), 0), 0)
	// Second-stage entry: announced by a page-selective one.
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
	r.Put(at, 0x5000|ssRW)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, true))
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)

	// Scalable: PASID entry, announced under its new domain.
	r = newRig(t, cm)
	r.pasidEntry(sid, 5)
	r.scalable()
	r.queue(true)
	r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultPASIDAbsent)
	r.mapPage(r.bind(sid, 5, spec.PGTTSecond, 7), iova, 0x5000, ssRW)
	r.RequireFault(r.pasidAccess(5, iova, emu.Read), vtd.FaultPASIDAbsent)
	r.submit(pcInv(spec.GranPCPASID, 7, 5), 0)
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x5000)
}

func TestVTDQuirk36_WithoutCachingModeNoFaultIsCached(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRootAbsent)
	r.context(sid)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultContextAbsent)
	top := r.attach(sid, 7)
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
	for level := 2; level >= 0; level-- {
		at := r.pte(top, iova, level)
		r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRead)
		r.Put(at, uint64(r.Page())|ssRW)
	}
	require.Equal(t, emu.OK, r.Access(sid, iova, emu.Read).Status)
}

func TestVTDQuirk37_AddressMask(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	at := r.pte(top, 0x4000_0000, 1)
	r.Put(at, 0x20_0000|ssRW|1<<7) // 2 MiB
	r.legacy()
	r.queue(false)
	r.RequireOK(r.Access(sid, 0x4012_3000, emu.Read), 0x32_3000)
	r.Put(at, 0x40_0000|ssRW|1<<7)
	// Low bits under the mask do not matter, and the large page goes although it is larger.
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(0x4010_7000, 4, true))
	r.RequireOK(r.Access(sid, 0x4012_3000, emu.Read), 0x52_3000)
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(0, 0x1f, true))
	require.EqualValues(t, spec.IQEIReserved, r.iqei())
}

func TestVTDQuirk38_HintKeepsTablePointers(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	r.queue(false)
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.Put(r.pte(top, iova, 1), 0) // another leaf table
	r.mapPage(top, iova, 0x6000, ssRW)
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, true))
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
	r.submit(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, false))
	r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
}

func TestVTDQuirk39_SizeBitsOfDeviceTLBDescriptors(t *testing.T)    { TestDeviceTLBInvalidation(t) }
func TestVTDQuirk40_SourceAndPFSIDSitElsewhereInType8(t *testing.T) { TestDeviceTLBInvalidation(t) }

func TestVTDQuirk41_FunctionMaskGoesDownFromBit2(t *testing.T) {
	for fm, gone := range []emu.SourceID{0, 4, 6, 7} {
		for f := range emu.SourceID(8) {
			r := newRig(t)
			r.attach(sid+f, 7)
			r.legacy()
			r.queue(false)
			r.Access(sid+f, iova, emu.Read)
			r.submit(ccInv(spec.GranDevice, 7, uint64(sid), uint64(fm)), 0)
			dropped := r.u.Cache(emu.CacheEntry).Stats().Invalidated == 1
			require.Equal(t, f&^gone == 0, dropped, "FM %d function %d", fm, f)
		}
	}
}

func TestVTDQuirk50_SecondStageInputsAreLimitedByWidthAndMGAW(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.MGAW = 47 })
	top := r.attach(sid, 7)
	r.mapPage(top, 1<<47-4096, 0x5000, ssRW)
	r.legacy()
	r.RequireOK(r.Access(sid, 1<<47-4096, emu.Read), 0x5000)
	r.RequireFault(r.Access(sid, 1<<47, emu.Read), vtd.FaultWidth)
	r.RequireFault(r.Access(sid, 0xffff_ffff_ffff_f000, emu.Read), vtd.FaultWidth)
}

func TestVTDQuirk52_UpperMessageAddressNeedsEIM(t *testing.T) {
	for _, eim := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.EIM = eim })
		upper := uint64(0)
		if eim {
			upper = 0x0001_0200 // destination 10200h and the low byte of the address
		}
		for _, off := range []uint32{spec.OffFEUADDR, spec.OffIEUADDR} {
			r.W32(off, 0x0001_0200)
			require.Equal(t, upper, r.R32(off))
		}
		var to []emu.PA
		r.F.OnMSI = func(a emu.PA, _ uint32) { to = append(to, a) }
		r.unmask()
		r.setIRTA(4, eim)
		r.command(spec.GcmdIRE, true) // compatibility format is blocked, but not for the unit itself
		r.legacy()
		r.Access(sid, iova, emu.Read)
		r.queue(false)
		lo, hi := wait(1, r.status())
		r.submit(lo|spec.IwIF.Mask(), hi)
		require.Equal(t, []emu.PA{emu.PA(upper<<32 | msiTo), emu.PA(upper<<32 | msiTo)}, to)
	}
}

func TestVTDQuirk55_Version6HasNoRegisterBasedInvalidation(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.VersionMajor = 6 })
	r.attach(sid, 7)
	r.legacy()
	r.Access(sid, iova, emu.Read)
	r.W64(spec.OffCCMD, spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(1))
	r.W64(r.u.Config().IOTLBOffset+spec.OffIOTLB, spec.IotlbIVT.Mask()|spec.IotlbIIRG.Put(1))
	// A driver that polls ends at once, has invalidated nothing, and can see that.
	require.Zero(t, r.R64(spec.OffCCMD)&(spec.CcmdICC.Mask()|spec.CcmdCAIG.Mask()))
	require.Zero(t, r.R64(r.u.Config().IOTLBOffset+spec.OffIOTLB)&(spec.IotlbIVT.Mask()|spec.IotlbIAIG.Mask()))
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
	r.queue(false)
	r.submit(ccInv(spec.GranGlobal, 0, 0, 0), 0)
	require.EqualValues(t, 1, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
}

func TestVTDQuirk58_QueueOffResetsTheHeadOnly(t *testing.T) {
	r := newRig(t)
	r.queue(false)
	r.submit(wait(1, r.status()))
	require.NotZero(t, r.head())
	r.command(spec.GcmdQIE, false)
	require.Zero(t, r.head())
	require.Equal(t, r.tail, r.R64(spec.OffIQT))
	r.W64(spec.OffIQA, uint64(r.iq))
	require.Zero(t, r.R64(spec.OffIQT), "a write to IQA resets both")
}
