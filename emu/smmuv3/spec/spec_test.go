package spec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func layouts() []*reg.Layout {
	l := []*reg.Layout{
		&spec.IDR0Layout, &spec.IDR1Layout, &spec.IDR2Layout, &spec.IDR3Layout, &spec.IDR5Layout, &spec.IIDRLayout, &spec.AIDRLayout,
		&spec.CR0Layout, &spec.CR1Layout, &spec.CR2Layout, &spec.GBPALayout, &spec.IRQCtrlLayout, &spec.GERRORLayout,
		&spec.IRQCfg0Layout, &spec.IRQCfg1Layout, &spec.IRQCfg2Layout, &spec.PRIQIRQCfg2Layout,
		&spec.STRTABBaseLayout, &spec.STRTABBaseCfgLayout, &spec.CMDQBaseLayout, &spec.EVENTQBaseLayout, &spec.PRIQBaseLayout,
		&spec.CMDQProdLayout, &spec.CMDQConsLayout, &spec.QProdLayout, &spec.QConsLayout,
		&spec.L1STDLayout, &spec.STELayout, &spec.L1CDLayout, &spec.CDLayout, &spec.PRILayout,
		&spec.TTDTableLayout, &spec.TTDS1Layout, &spec.TTDS2Layout, &spec.EVTYPERLayout, &spec.CFGRLayout,
	}
	for _, c := range spec.CmdLayouts {
		l = append(l, c)
	}
	for _, e := range spec.EventLayouts {
		l = append(l, e)
	}
	return l
}

func TestLayoutsAreSound(t *testing.T) { emutest.RequireSound(t, layouts()...) }

// Entries that Linux wrote: a level 1 descriptor of 256 STEs, an STE of stage 1 with VMID 0, its CD.
func TestEntriesThatLinuxWrote(t *testing.T) {
	d := spec.L1STD(0x45f0_0009)
	require.EqualValues(t, 256, d.STEs())
	require.Equal(t, emu.PA(0x45f0_0000), d.L2Ptr())

	cd := spec.CD{0x0001_f205_c019_3510 &^ 0xffff_0000_0000_0000, 0x4623_0000, 0, 0xf404_ff44}
	spec.CdASID.Set(cd[:], 1)
	require.EqualValues(t, 1, cd.ASID())
	require.Equal(t, uint64(0x4623_0000), cd.TTB0())
	require.EqualValues(t, []uint8{0x44, 0xff, 0x04, 0xf4}, []uint8{cd.MAIR(0), cd.MAIR(1), cd.MAIR(2), cd.MAIR(3)})
}

func TestSMMUQuirk01_SpanIsOneMoreThanTheLog2(t *testing.T) {
	for span, want := range map[uint64]uint64{0: 0, 1: 1, 2: 2, 9: 256, 11: 1024, 12: 0, 31: 0} {
		d := spec.L1STD(spec.L1stdL2Ptr.Mask() | span)
		require.Equal(t, want, d.STEs(), "Span %d", span)
		if want != 0 {
			require.Equal(t, emu.PA(spec.L1stdL2Ptr.Mask()&^(64*want-1)), d.L2Ptr(), "aligned to its size")
		}
	}
}

func TestSMMUQuirk11_PlacesThatLookAlikeAndAreNot(t *testing.T) {
	require.EqualValues(t, 1, spec.SteV.Mask())
	require.EqualValues(t, 1<<31, spec.CdV.Mask())
	require.EqualValues(t, 1<<42, spec.CdHD.Mask())
	require.EqualValues(t, 1<<43, spec.CdHA.Mask())
	require.Equal(t, spec.Granule4K, spec.GranuleTG0(0))
	require.Equal(t, spec.Granule64K, spec.GranuleTG0(1))
	require.Equal(t, spec.Granule16K, spec.GranuleTG0(2))
	require.Zero(t, spec.GranuleTG0(3))
	require.Zero(t, spec.GranuleTG1(0))
	require.Equal(t, spec.Granule16K, spec.GranuleTG1(1))
	require.Equal(t, spec.Granule4K, spec.GranuleTG1(2))
	require.Equal(t, spec.Granule64K, spec.GranuleTG1(3))
	require.Equal(t, spec.Granule4K, spec.GranuleTLBI(1))
	require.Equal(t, spec.Granule16K, spec.GranuleTLBI(2))
	require.Equal(t, spec.Granule64K, spec.GranuleTLBI(3))
}

func TestSMMUQuirk39_OpcodesOfTheConfigurationCaches(t *testing.T) {
	require.EqualValues(t, 0x04, spec.CmdCfgiSTERange)
	require.EqualValues(t, 31, spec.CfgiRangeAll)
	require.Equal(t, "CMD_CFGI_VMS_PIDM", spec.CmdLayouts[0x07].Name)
}

func TestGranules(t *testing.T) {
	for g, want := range map[spec.Granule][]uint8{
		spec.Granule4K: {12, 21, 30, 39, 48}, spec.Granule16K: {14, 25, 36, 47}, spec.Granule64K: {16, 29, 42},
	} {
		for l, lg2 := range want {
			require.Equal(t, lg2, g.Shift(int8(l)))
		}
		for _, c := range []struct {
			of  func(uint64) spec.Granule
			put func() (uint64, bool)
		}{{spec.GranuleTG0, g.TG0}, {spec.GranuleTG1, g.TG1}, {spec.GranuleTLBI, g.TLBI}} {
			code, ok := c.put()
			require.True(t, ok)
			require.Equal(t, g, c.of(code))
		}
	}
	_, ok := spec.Granule(0).TG1()
	require.False(t, ok)
}

// The sizes of contiguous runs are published as bytes.
func TestContiguousRuns(t *testing.T) {
	for g, want := range map[spec.Granule][]uint8{
		spec.Granule4K: {16, 25, 34, 0}, spec.Granule16K: {21, 30, 0}, spec.Granule64K: {21, 34, 0},
	} {
		for l, lg2 := range want {
			n := g.Contig(int8(l))
			if lg2 == 0 {
				require.Zero(t, n)
				continue
			}
			require.Equal(t, lg2, g.Shift(int8(l))+n, "granule %d level %d", g, l)
		}
	}
}

func TestStage2StartLevels(t *testing.T) {
	for g, want := range map[spec.Granule][]int8{ // as Arm counts; 9: reserved
		spec.Granule4K: {2, 1, 0, 3, -1}, spec.Granule16K: {3, 2, 1, 0, 9}, spec.Granule64K: {3, 2, 1, 9, 9},
	} {
		for sl0, arm := range want {
			level, ok := spec.S2StartLevel(g, uint64(sl0))
			require.Equal(t, arm != 9, ok)
			if !ok {
				continue
			}
			require.Equal(t, spec.Level(arm), level, "granule %d SL0 %d", g, sl0)
			code, ok := spec.S2SL0(g, level)
			require.True(t, ok)
			require.EqualValues(t, sl0, code)
		}
	}
}

func TestAddressSizes(t *testing.T) {
	for code, bits := range []uint8{32, 36, 40, 42, 44, 48, 52, 56} {
		require.Equal(t, bits, spec.OASBits(uint64(code)))
		got, ok := spec.OASCode(bits)
		require.True(t, ok)
		require.EqualValues(t, code, got)
	}
	_, ok := spec.OASCode(47)
	require.False(t, ok)
}

// ID registers of a snapshot of QEMU.
func TestFeaturesOfASnapshot(t *testing.T) {
	const idr0, idr1, idr3, idr5 = 0x0d44_101b, 0x0273_0010, 0x1414, 0x74
	for _, b := range []reg.Bits{spec.Idr0S1P, spec.Idr0S2P, spec.Idr0COHACC, spec.Idr0ASID16, spec.Idr0VMID16, spec.Idr0TermModel} {
		require.True(t, b.On(idr0))
	}
	require.EqualValues(t, spec.TTFAArch64, spec.Idr0TTF.Of(idr0))
	require.EqualValues(t, spec.TTEndianLE, spec.Idr0TTENDIAN.Of(idr0))
	require.EqualValues(t, spec.StallNever, spec.Idr0StallModel.Of(idr0))
	require.EqualValues(t, spec.STLevel2, spec.Idr0STLevel.Of(idr0))
	require.EqualValues(t, 16, spec.Idr1SIDSIZE.Of(idr1))
	require.EqualValues(t, 19, spec.Idr1EVENTQS.Of(idr1))
	require.EqualValues(t, 19, spec.Idr1CMDQS.Of(idr1))
	require.True(t, spec.Idr3HAD.On(idr3) && spec.Idr3XNX.On(idr3) && spec.Idr3RIL.On(idr3))
	require.EqualValues(t, 2, spec.Idr3BBML.Of(idr3))
	require.EqualValues(t, 44, spec.OASBits(spec.Idr5OAS.Of(idr5)))
}
