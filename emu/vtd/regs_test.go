package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

func TestResetValues(t *testing.T) {
	r := newRig(t)
	require.EqualValues(t, 0x8000_0000, r.R32(spec.OffFECTL))
	require.EqualValues(t, 0x8000_0000, r.R32(spec.OffIECTL))
	require.EqualValues(t, 0x0800_0000_0000_0000, r.R64(spec.OffCCMD))
	require.EqualValues(t, 0x0200_0000_0000_0000, r.R64(r.u.Config().IOTLBOffset+spec.OffIOTLB))
	require.EqualValues(t, 0x50, r.R32(spec.OffVER))
	require.Zero(t, r.R32(spec.OffGSTS))
}

func TestCapabilitiesAreComposedFromTheConfiguration(t *testing.T) {
	r := newRig(t)
	c, cap, ecap := r.u.Config(), r.R64(spec.OffCAP), r.R64(spec.OffECAP)
	require.EqualValues(t, c.MGAW, spec.CapMGAW.Of(cap)+1)
	require.EqualValues(t, c.FaultRecords, spec.CapNFR.Of(cap)+1)
	require.EqualValues(t, c.FaultOffset, spec.CapFRO.Of(cap)*16)
	require.EqualValues(t, c.IOTLBOffset, spec.EcapIRO.Of(ecap)*16)
	require.True(t, spec.EcapSMTS.On(ecap))
	for name, b := range map[string]bool{
		"PRS": spec.EcapPRS.On(ecap),
		"PMS": spec.EcapPMS.On(ecap), "AFL": spec.CapAFL.On(cap),
		"ECMDS": spec.CapECMDS.On(cap),
	} {
		require.False(t, b, "%s is not modelled and must not be advertised", name)
	}
}

func TestRegistersNotModelledReadZero(t *testing.T) {
	r := newRig(t)
	for _, off := range []uint32{spec.OffAFLOG, spec.OffPQA, spec.OffPECTL, spec.OffMTRRCAP, spec.OffPERFCAP, spec.OffECMD} {
		r.W64(off&^7, ^uint64(0))
		require.Zero(t, r.R32(off), "%#x", off)
	}
}

func TestReadOnlyRegistersTakeNothing(t *testing.T) {
	r := newRig(t)
	for _, off := range []uint32{spec.OffCAP, spec.OffECAP, spec.OffIQH, spec.OffIQERCD, r.u.Config().FaultOffset} {
		v := r.R64(off)
		r.W64(off, ^v)
		require.Equal(t, v, r.R64(off), "%#x", off)
	}
}

func TestLongRegistersCanBeWrittenAsTwoHalves(t *testing.T) {
	r := newRig(t)
	r.W32(spec.OffRTADDR, 0x1234_5400)
	r.W32(spec.OffRTADDR+4, 0x9)
	require.EqualValues(t, 0x9_1234_5400, r.R64(spec.OffRTADDR))
	require.EqualValues(t, 0x9, r.R32(spec.OffRTADDR+4))
}

func TestOddAccessesReadZeroAndAreDropped(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffRTADDR, 0x1000)
	for _, a := range []struct {
		off  uint32
		size uint8
	}{{spec.OffRTADDR, 1}, {spec.OffRTADDR, 2}, {spec.OffRTADDR + 4, 8}, {spec.OffRTADDR + 1, 4}, {spec.OffRTADDR, 16}, {0xffff_fff8, 8}, {spec.Window, 4}} {
		require.Zero(t, r.u.ReadReg(a.off, a.size))
		require.Zero(t, r.u.WriteReg(a.off, a.size, ^uint64(0)))
	}
	require.EqualValues(t, 0x1000, r.R64(spec.OffRTADDR))
}

func TestWriteBufferFlushIsABusyFlag(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.RWBF = true })
	w := r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdWBF.Mask())
	require.True(t, spec.GstsWBFS.On(r.R32(spec.OffGSTS)))
	r.F.Wake(w)
	require.False(t, spec.GstsWBFS.On(r.R32(spec.OffGSTS)))
}

func TestWriteBufferFlushWithoutRWBFIsIgnored(t *testing.T) {
	r := newRig(t)
	r.u.WriteReg(spec.OffGCMD, 4, spec.GcmdWBF.Mask())
	require.False(t, spec.GstsWBFS.On(r.R32(spec.OffGSTS)))
}

func TestSRTPWithESRTPSInvalidatesAllCaches(t *testing.T) {
	for _, esrtps := range []bool{false, true} {
		r := newRig(t, func(c *vtd.Config) { c.ESRTPS = esrtps })
		top := r.attach(sid, 7)
		r.mapPage(top, iova, 0x5000, ssRW)
		r.legacy()
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.root = r.Page()
		r.setRoot(spec.TTMLegacy)
		if res := r.Access(sid, iova, emu.Read); esrtps {
			r.RequireFault(res, vtd.FaultRootAbsent)
		} else {
			r.RequireOK(res, 0x5000) // stale, until software flushes
		}
	}
}

func TestOneWriteWithSeveralCommandsDoesThemInOrder(t *testing.T) {
	r := newRig(t)
	r.W64(spec.OffRTADDR, uint64(r.root))
	r.W32(spec.OffGCMD, spec.GcmdSRTP.Mask()|spec.GcmdQIE.Mask()|spec.GcmdTE.Mask())
	require.Equal(t, spec.GstsRTPS.Mask()|spec.GstsQIES.Mask()|spec.GstsTES.Mask(), r.R32(spec.OffGSTS))
}

func TestRegisterBasedInvalidationOfContexts(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	fill := func() { r.Access(sid, iova, emu.Read) }
	try := func(v uint64) bool {
		fill()
		n := r.u.Cache(emu.CacheEntry).Stats().Invalidated
		r.W64(spec.OffCCMD, v|spec.CcmdICC.Mask())
		require.False(t, spec.CcmdICC.On(r.R64(spec.OffCCMD)))
		return r.u.Cache(emu.CacheEntry).Stats().Invalidated > n
	}
	caig := func() uint64 { return spec.CcmdCAIG.Of(r.R64(spec.OffCCMD)) }
	require.True(t, try(spec.CcmdCIRG.Put(1)))
	require.EqualValues(t, 1, caig())
	require.True(t, try(spec.CcmdCIRG.Put(2)|spec.CcmdDID.Put(7)))
	require.EqualValues(t, 2, caig())
	require.False(t, try(spec.CcmdCIRG.Put(2)|spec.CcmdDID.Put(8)))
	require.True(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid))))
	require.EqualValues(t, 3, caig())
	require.False(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid^4))))
	require.True(t, try(spec.CcmdCIRG.Put(3)|spec.CcmdDID.Put(7)|spec.CcmdSID.Put(uint64(sid^4))|spec.CcmdFM.Put(1)))
	require.False(t, try(0), "reserved granularity is rejected")
	require.Zero(t, caig())
}

func TestRegisterBasedInvalidationStartsWithTheHighHalf(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	r.Access(sid, iova, emu.Read)
	r.W32(spec.OffCCMD, 7)
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
	r.W32(spec.OffCCMD+4, (spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(2))>>32)
	require.EqualValues(t, 1, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
}

func TestRegisterBasedInvalidationOfPages(t *testing.T) {
	r := newRig(t)
	top := r.attach(sid, 7)
	pte := r.mapPage(top, iova, 0x5000, ssRW)
	r.legacy()
	iva := r.u.Config().IOTLBOffset
	for i, c := range []struct {
		iva, cmd, iaig uint64
		dropped        bool
	}{
		{0, spec.IotlbIIRG.Put(1), 1, true},
		{0, spec.IotlbIIRG.Put(2) | spec.IotlbDID.Put(7), 2, true},
		{0, spec.IotlbIIRG.Put(2) | spec.IotlbDID.Put(6), 2, false},
		{iova, spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, true},
		{iova + 4096, spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, false},
		{iova + 4096 | spec.IvaAM.Put(4), spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 3, true},
		{iova | spec.IvaAM.Put(0x1f), spec.IotlbIIRG.Put(3) | spec.IotlbDID.Put(7), 0, false},
	} {
		r.Put(pte, 0x5000|ssRW)
		r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		r.Put(pte, 0x6000|ssRW)
		r.W64(iva+spec.OffIVA, c.iva)
		r.W64(iva+spec.OffIOTLB, c.cmd|spec.IotlbIVT.Mask())
		v := r.R64(iva + spec.OffIOTLB)
		require.False(t, spec.IotlbIVT.On(v))
		require.Equal(t, c.iaig, spec.IotlbIAIG.Of(v), "case %d", i)
		if c.dropped {
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x6000)
		} else {
			r.RequireOK(r.Access(sid, iova, emu.Read), 0x5000)
		}
		r.W64(iva+spec.OffIOTLB, spec.IotlbIIRG.Put(1)|spec.IotlbIVT.Mask())
	}
}

func TestRegisterBasedInvalidationIsRejectedWhileTheQueueIsOn(t *testing.T) {
	r := newRig(t)
	r.attach(sid, 7)
	r.legacy()
	r.Access(sid, iova, emu.Read)
	r.queue(false)
	r.W64(spec.OffCCMD, spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(1))
	require.Zero(t, spec.CcmdCAIG.Of(r.R64(spec.OffCCMD)))
	require.False(t, spec.CcmdICC.On(r.R64(spec.OffCCMD)))
	require.Zero(t, r.u.Cache(emu.CacheEntry).Stats().Invalidated)
}

func TestProtectedRegionsBlockWhatTablesDoNotTranslate(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.VersionMajor = 1 })
	r.W32(spec.OffPLMBASE, 0xffff_ffff)
	require.EqualValues(t, 0xffe0_0000, r.R32(spec.OffPLMBASE), "granularity is 2 MiB")
	r.W32(spec.OffPLMBASE, 0x40_0000)
	r.W32(spec.OffPLMLIMIT, 0x60_0000)
	r.W64(spec.OffPHMBASE, 0x1_0000_0000)
	r.W64(spec.OffPHMLIMIT, 0x1_0000_0000)
	r.RequireOK(r.Access(sid, 0x40_0000, emu.Read), 0x40_0000)
	r.W32(spec.OffPMEN, spec.PmenEPM.Mask())
	require.Equal(t, spec.PmenEPM.Mask()|1, r.R32(spec.OffPMEN))
	for addr, in := range map[uint64]bool{
		0x3f_ff00: false, 0x3f_ffe0: true, 0x40_0000: true, 0x7f_ffff: true, 0x80_0000: false,
		0x1_0000_0000: true, 0x1_001f_f000: true, 0x1_0020_0000: false,
	} {
		if res := r.Access(sid, addr, emu.Read); in {
			r.RequireFault(res, vtd.FaultProtected)
		} else {
			r.RequireOK(res, addr)
		}
	}
	require.Zero(t, r.R32(spec.OffFSTS), "nothing is recorded")

	// With translation on, tables decide; pass-through stays blocked.
	top := r.attach(sid, 7)
	r.mapPage(top, iova, 0x40_0000, ssRW)
	e := legacyEntry(spec.TTPassThrough, 0, spec.AW57, 8)
	r.Put(r.context(hiSID), e[0], e[1])
	r.legacy()
	r.RequireOK(r.Access(sid, iova, emu.Write), 0x40_0000)
	r.RequireFault(r.Access(hiSID, 0x40_0000, emu.Write), vtd.FaultProtected)
	r.RequireOK(r.Access(hiSID, 0x20_0000, emu.Write), 0x20_0000)
	r.W32(spec.OffPMEN, 0)
	require.Zero(t, r.R32(spec.OffPMEN))
	r.RequireOK(r.Access(hiSID, 0x40_0000, emu.Write), 0x40_0000)
}

func TestWarmResetKeepsStickyStatus(t *testing.T) {
	r := newRig(t)
	r.legacy()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultRootAbsent)
	r.u.Reset(emu.ResetWarm)
	require.True(t, spec.FstsPPF.On(r.R32(spec.OffFSTS)))
	rec := r.record(0)
	require.True(t, rec.F())
	require.Zero(t, r.R32(spec.OffGSTS))
	require.Zero(t, r.R64(spec.OffRTADDR))
	r.u.Reset(emu.ResetCold)
	require.Zero(t, r.R32(spec.OffFSTS))
	rec = r.record(0)
	require.False(t, rec.F())
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for field, f := range map[string]func(*vtd.Config){
		"HAW":          func(c *vtd.Config) { c.HAW = 53 },
		"ND":           func(c *vtd.Config) { c.ND = 7 },
		"SAGAW":        func(c *vtd.Config) { c.SAGAW = 1 },
		"MGAW":         func(c *vtd.Config) { c.MGAW = 0 },
		"FaultRecords": func(c *vtd.Config) { c.FaultRecords = 0 },
		"FaultOffset":  func(c *vtd.Config) { c.FaultOffset = 0xff8 },
		"IOTLBOffset":  func(c *vtd.Config) { c.IOTLBOffset = 0x1000 },
		"SMTS":         func(c *vtd.Config) { c.QI = false },
		"PSS":          func(c *vtd.Config) { c.PSS = 20 },
		"IOTLB":        func(c *vtd.Config) { c.IOTLB = iotlb.Geometry{Sets: 3, Ways: 1} },
		"overlap":      func(c *vtd.Config) { c.FaultOffset = 0x500 },
	} {
		c := vtd.DefaultConfig()
		f(&c)
		_, err := vtd.New(c)
		require.ErrorIs(t, err, vtd.ErrConfig, field)
		require.ErrorContains(t, err, field)
	}
}
