package spec_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

func layouts() []*reg.Layout {
	l := []*reg.Layout{
		&spec.VERLayout, &spec.CAPLayout, &spec.ECAPLayout, &spec.GCMDLayout, &spec.GSTSLayout, &spec.RTADDRLayout,
		&spec.CCMDLayout, &spec.IVALayout, &spec.IOTLBLayout, &spec.FSTSLayout, &spec.FECTLLayout, &spec.PMENLayout,
		&spec.IQHLayout, &spec.IQTLayout, &spec.IQALayout, &spec.IQERCDLayout, &spec.IRTALayout,
		&spec.PQHLayout, &spec.PQTLayout, &spec.PQALayout, &spec.PRSLayout,
		&spec.RootLayout, &spec.SMRootLayout, &spec.ContextLayout, &spec.SMContextLayout, &spec.PASIDDirLayout,
		&spec.PASIDLayout, &spec.SSLayout, &spec.FSLayout, &spec.FSLargeLayout, &spec.IRTELayout, &spec.PostedIRTELayout,
		&spec.PageRequestLayout, &spec.FRCDLayout,
		&spec.PERFCAPLayout, &spec.PERFINTRSTSLayout, &spec.PERFFRZSTSLayout, &spec.PERFOVFSTSLayout, &spec.PERFEVNTCAPLayout,
		&spec.PERFCNTRCFGLayout, &spec.PERFCNTRLayout, &spec.ECMDLayout, &spec.ECEOLayout, &spec.ECRSPLayout,
	}
	for _, d := range spec.DescLayouts {
		l = append(l, d)
	}
	return l
}

func TestLayoutsAreSound(t *testing.T) { emutest.RequireSound(t, layouts()...) }

// The masks were published by drivers and models of the same hardware.
func TestReservedMasksOfDescriptors(t *testing.T) {
	for kind, want := range map[uint8][2]uint64{
		spec.DescContext:    {0xfffc_0000_0000_f1c0, ^uint64(0)},
		spec.DescIOTLB:      {0xffff_ffff_0000_f100, 0xf80},
		spec.DescIEC:        {0xffff_0000_07ff_f1e0, ^uint64(0)},
		spec.DescWait:       {0x0000_0000_ffff_f100, 3},
		spec.DescPASIDCache: {0xfff0_0000_0000_f1c0, ^uint64(0)},
		spec.DescPASIDIOTLB: {0xfff0_0000_0000_f1c0, 0xf80},
	} {
		r := spec.DescLayouts[kind].Reserved([]uint64{^uint64(0), ^uint64(0)})
		require.Equal(t, want[:], r, "type %d", kind)
	}
}

func TestReservedMasksOfEntries(t *testing.T) {
	all := []uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}
	require.Equal(t, []uint64{0xffe, ^uint64(0)}, spec.RootLayout.Reserved(all))
	require.Equal(t, []uint64{0xffe, 0xffe}, spec.SMRootLayout.Reserved(all))
	require.Equal(t, []uint64{0xff0, 0xffff_ffff_ff00_0080}, spec.ContextLayout.Reserved(all))
	require.Equal(t, []uint64{0x1a0, 0xffff_ffff_ffe0_0000, ^uint64(0), ^uint64(0)}, spec.SMContextLayout.Reserved(all))
	require.Equal(t, []uint64{0xffc}, spec.PASIDDirLayout.Reserved(all))
	require.Equal(t, []uint64{0x7ff0_0000_0000_0a00}, spec.FSLayout.Reserved(all), "ignored ones, all of them")
	require.Equal(t, []uint64{0x7ff0_0000_001f_ea00}, spec.FSLargeLayout.Reserved(all), "and 20:13")
	p := spec.PASIDLayout.Reserved(all)
	require.Equal(t, []uint64{0xc00, 0x7f_0000, 0xf00, ^uint64(0)}, p[:4])
}

func TestDescriptorTypeIsSplit(t *testing.T) {
	for k := range uint8(spec.NumDescTypes) {
		require.Equal(t, k, spec.DescType(spec.PutDescType(k)))
	}
	require.EqualValues(t, 0x205, spec.PutDescType(0x15))
}

// Values of a machine as the command line of a driver prints them.
func TestCapabilitiesOfARealUnit(t *testing.T) {
	const cap, ecap = 0x80d2008c222f0606, 0x0000480080f00f4a
	require.EqualValues(t, 6, spec.CapND.Of(cap))
	require.Equal(t, spec.SAGAW39|spec.SAGAW48, spec.CapSAGAW.Of(cap))
	require.EqualValues(t, 47, spec.CapMGAW.Of(cap))
	require.EqualValues(t, 0x22, spec.CapFRO.Of(cap))
	require.EqualValues(t, 0x12, spec.CapMAMV.Of(cap))
	require.True(t, spec.CapPSI.On(cap))
	require.True(t, spec.CapESRTPS.On(cap))
	require.True(t, spec.EcapSMTS.On(ecap) && spec.EcapSSTS.On(ecap) && spec.EcapSRS.On(ecap))
	require.False(t, spec.EcapFSTS.On(ecap) || spec.EcapPASID.On(ecap))
	require.EqualValues(t, 0xf, spec.EcapIRO.Of(ecap))
}

func TestAccessors(t *testing.T) {
	c := spec.ContextEntry{0x1234_5000 | 3 | 2<<2, 2 | 0xabcd<<8}
	require.True(t, c.P() && c.FPD())
	require.EqualValues(t, spec.TTPassThrough, c.TT())
	require.Equal(t, emu.PA(0x1234_5000), c.SSPTPTR())
	require.EqualValues(t, spec.AW48, c.AW())
	require.EqualValues(t, 0xabcd, c.DID())

	s := spec.SMContextEntry{0x7000 | 3<<9 | 0x5d, 0x12345 | 1<<20}
	require.True(t, s.P() && !s.FPD() && s.DTE() && s.PASIDE() && s.PRE() && s.EPTR() && s.RIDPRIV())
	require.EqualValues(t, 3, s.PDTS())
	require.Equal(t, emu.PA(0x7000), s.PASIDDIRPTR())
	require.Equal(t, emu.PASID(0x12345), s.RIDPASID())

	d := spec.PASIDDirEntry(0x8003)
	require.True(t, d.P() && d.FPD())
	require.Equal(t, emu.PA(0x8000), d.SMPTBLPTR())

	p := spec.PASIDEntry{0x9000 | 1<<9 | 2<<6 | 1<<5 | 3<<2 | 1, 0x77 | 3<<23, 0xa000 | 1<<2 | 3}
	require.True(t, p.P() && !p.FPD() && p.SSEE() && p.SSADE() && p.PWSNP() && p.PGSNP() && p.SRE() && p.ERE())
	require.EqualValues(t, spec.PGTTSecond, p.PGTT())
	require.EqualValues(t, spec.AW57, p.AW())
	require.EqualValues(t, 0x77, p.DID())
	require.EqualValues(t, 1, p.FSPM())
	require.EqualValues(t, 0x9000, p.SSPTPTR())
	require.EqualValues(t, 0xa000, p.FSPTPTR())

	e := spec.RootEntry{0x3001, 0x4001}
	require.True(t, e.P())
	require.Equal(t, emu.PA(0x3000), e.CTP())
	present, table := e.Half(0x80)
	require.True(t, present)
	require.Equal(t, emu.PA(0x4000), table)

	r := spec.FaultRecord{0x5000, 1<<63 | 0x59<<32 | 0x310}
	require.True(t, r.F())
	require.EqualValues(t, 0x59, r.FR())
	require.EqualValues(t, 0x310, r.SID())
}
