package spec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
)

func layouts() []*reg.Layout {
	l := []*reg.Layout{
		&spec.EFRLayout, &spec.EFR2Layout, &spec.DevTabLayout, &spec.RingLayout, &spec.PtrLayout, &spec.GAPtrLayout,
		&spec.GALogTailAddrLayout, &spec.ExclBaseLayout, &spec.ExclLimitLayout, &spec.HWEventStatusLayout, &spec.ControlLayout,
		&spec.StatusLayout, &spec.PPRAutoResponseLayout, &spec.PPROverflowEarlyLayout, &spec.MSICapLayout, &spec.XTIntLayout,
		&spec.DTELayout, &spec.PDELayout, &spec.PTELayout, &spec.GuestLayout, &spec.GCR3Layout,
		&spec.IRTE32Layout, &spec.IRTE128Layout, &spec.IRTEGuestLayout, &spec.PPRLayout, &spec.GALayout,
		&spec.CounterConfigLayout, &spec.CounterLayout, &spec.CounterSourceLayout, &spec.CounterMatchLayout, &spec.CounterReportLayout,
	}
	for _, c := range spec.CmdLayouts {
		if c != nil {
			l = append(l, c)
		}
	}
	for _, e := range spec.EventLayouts {
		if e != nil {
			l = append(l, e)
		}
	}
	return l
}

func TestLayoutsAreSound(t *testing.T) { emutest.RequireSound(t, layouts()...) }

func TestJointsAgreeWithTheReaders(t *testing.T) {
	var e spec.DTE
	e.SetGCR3Root(0x000a_bcde_f012_3000)
	require.Equal(t, e.GCR3Root(), spec.DTELayout.Joints[0].Get(e[:]))
	w := spec.PutIotlbPASID(0xab4cd)
	require.Equal(t, spec.IotlbPASID(w), spec.CmdLayouts[spec.CmdInvalidateIOTLB].Joints[0].Get([]uint64{w, 0}))
}

func TestRegistersAreSound(t *testing.T) {
	emutest.RequireSoundRegisters(t, spec.Window, spec.Registers)
}

var ones = []uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}

// The masks of the DTE were published by a model of the same hardware; the others follow from the
// tables of 2.4.
func TestReservedMasks(t *testing.T) {
	require.Equal(t, []uint64{0x8000_0000_0000_007c, 0, 0x0030_0000_0000_0000, 0x003f_0000_0000_7fff}, spec.DTELayout.Reserved(ones))
	for op, want := range map[int][]uint64{
		spec.CmdCompletionWait:     {0x0ff0_0000_0000_0000, 0},
		spec.CmdInvalidateDevtab:   {0x0fff_ffff_ffff_0000, ^uint64(0)},
		spec.CmdInvalidatePages:    {0x0fff_0000_fff0_0000, 0xff8},
		spec.CmdInvalidateIOTLB:    {0, 0xfca},
		spec.CmdInvalidateIntTable: {0x0fff_ffff_ffff_0000, ^uint64(0)},
		spec.CmdPrefetchPages:      {0x0ff0_0000_00ff_0000, 0xfea},
		spec.CmdCompletePPR:        {0x0ff0_0000_ffff_0000, 0xffff_0e00_ffff_fffb},
		spec.CmdInvalidateAll:      {0x0fff_ffff_ffff_ffff, ^uint64(0)},
	} {
		require.Equal(t, want, spec.CmdLayouts[op].Reserved(ones), "%s", spec.CmdLayouts[op].Name)
	}
	require.Equal(t, []uint64{0xff00_0080}, spec.IRTE32Layout.Reserved(ones))
}

// A DTE that Linux wrote: v1, mode 3, domain 2, root 269a000, read and write.
func TestDTE(t *testing.T) {
	e := spec.DTE{0x6000_0000_0269_a603, 0x2}
	require.True(t, e.V() && e.TV() && e.IR() && e.IW())
	require.False(t, e.GV() || e.GIoV() || e.I() || e.IV())
	require.EqualValues(t, 3, e.Mode())
	require.Equal(t, emu.PA(0x269_a000), e.HostRoot())
	require.EqualValues(t, 2, e.DomainID())

	e = spec.DTE{0x00c0_0000_0000_0000 | 2<<56, 1 << 32, 1<<54 | 1 | 0x1234_5680, 0}
	require.True(t, e.GV() && e.GIoV() && e.I() && e.IV())
	require.EqualValues(t, 2, e.GLX())
	require.EqualValues(t, 1, e.GuestPagingMode())
	require.Equal(t, emu.PA(0x1234_5680), e.IRTRoot())
}

func TestAMDQuirk11_GCR3RootIsInThreePieces(t *testing.T) {
	var e spec.DTE
	e.SetGCR3Root(0x000f_ffff_ffff_f000)
	require.Equal(t, spec.DTE{7 << 58, 0xffff_0000 | 0x1f_ffff<<43}, e)
	for bit, want := range map[uint]spec.DTE{
		12: {1 << 58}, 14: {1 << 60}, 15: {0, 1 << 16}, 30: {0, 1 << 31}, 31: {0, 1 << 43}, 51: {0, 1 << 63},
	} {
		var e spec.DTE
		e.SetGCR3Root(1 << bit)
		require.Equal(t, want, e, "address bit %d", bit)
		require.Equal(t, uint64(1)<<bit, e.GCR3Root())
	}
}

func TestAMDQuirk05_SizeIsTheLowestZeroFromBit12(t *testing.T) {
	for entry, want := range map[uint64]uint8{
		0x0000: 13, 0x1000: 14, 0x3000: 15, 0x7000: 16, 0xf000: 17,
		0x001f_f000: 22, 0x3fff_f000: 31, 0x000f_f000: 21, 0x0007_ffff_ffff_f000: 52,
	} {
		lg2, ok := spec.PageSizeLg2(entry | 0xfff0_0000_0000_0fff)
		require.True(t, ok, "%#x", entry)
		require.Equal(t, want, lg2, "%#x", entry)
		require.Equal(t, entry, spec.PageSizeAddr(0, want))
	}
	_, ok := spec.PageSizeLg2(spec.PteAddr.Mask())
	require.False(t, ok)
	// From a table that Linux wrote: 8 KiB at 9ae2000, 16 KiB at 9af0000.
	require.EqualValues(t, 0x9ae2000, spec.PageSizeAddr(0x9ae_3123, 13))
	require.EqualValues(t, 0x9af1000, spec.PageSizeAddr(0x9af_0000, 14))
}

func TestAMDQuirk19_IotlbPASIDIsInThreePieces(t *testing.T) {
	require.Equal(t, uint64(0xa<<56|0xcd<<48|0xb4<<16), spec.PutIotlbPASID(0xab4cd))
	require.EqualValues(t, 0xab4cd, spec.IotlbPASID(spec.PutIotlbPASID(0xab4cd)|1<<60|0xff00_ffff))
}

// EFR of a snapshot of QEMU.
func TestFeaturesOfASnapshot(t *testing.T) {
	const efr = 0x29d3
	for _, b := range []reg.Bits{spec.EfrPreFSup, spec.EfrPPRSup, spec.EfrGTSup, spec.EfrIASup, spec.EfrGASup, spec.EfrHESup} {
		require.True(t, b.On(efr))
	}
	require.EqualValues(t, spec.HATS6, spec.EfrHATS.Of(efr))
	require.EqualValues(t, 2, spec.EfrGATS.Of(efr))
	require.False(t, spec.EfrXTSup.On(efr) || spec.EfrPCSup.On(efr))
}

func TestAMDQuirk29_OrderOfTheGABits(t *testing.T) {
	require.EqualValues(t, 1<<8, spec.StsGALogRun.Mask())
	require.EqualValues(t, 1<<9, spec.StsGALOverflow.Mask())
	require.EqualValues(t, 1<<10, spec.StsGAInt.Mask())
	require.EqualValues(t, 1<<4|1<<3, spec.StsCmdBufRun.Mask()|spec.StsEventLogRun.Mask())
}

func TestAMDQuirk30_EventCodesHaveFourBits(t *testing.T) {
	require.Equal(t, uint64(0xf)<<60, spec.EvtCode.Mask())
	require.EqualValues(t, 0xa, spec.EventCounterZero)
}

func TestAMDQuirk31_EventFields(t *testing.T) {
	require.EqualValues(t, 0xffff, spec.EvtDeviceID.Mask())
	require.EqualValues(t, uint64(0xffff)<<32, spec.EvtDomainID.Mask())
	for bit, b := range []reg.Bits{spec.EvtGN, spec.EvtNX, spec.EvtUS, spec.EvtI, spec.EvtPR, spec.EvtRW, spec.EvtPE, spec.EvtRZ, spec.EvtTR} {
		require.EqualValues(t, uint64(1)<<(48+bit), b.Mask(), "flag %d", bit)
	}
}

func TestCapabilityBlock(t *testing.T) {
	c := spec.Capability{Next: 0x64, IotlbSup: true, CapExt: true, MMIOBase: 0xfe_fd80_0000, Enable: true, MsiNumPPR: 1, MsiNumGA: 2, PAsize: 48, VAsize: 64}
	require.Equal(t, [6]uint32{0x190b_640f, 0xfd80_0001, 0xfe, 0, 1<<27 | 64<<15 | 48<<8 | 2<<5, 2}, c.Words())
}
