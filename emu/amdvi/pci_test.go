package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// configureMSI programs the MSI capability of configuration space, as an operating system does.
func (r *rig) configureMSI(addr emu.PA, data uint16, on bool) {
	at := r.capability(spec.MSICapID)
	r.u.WriteConfig(at+4, 4, uint32(addr))
	r.u.WriteConfig(at+8, 4, uint32(addr>>32))
	r.u.WriteConfig(at+12, 2, uint32(data))
	r.u.WriteConfig(at+2, 2, uint32(spec.MsiEn.PutBool(on)>>16))
}

// capability finds a capability in the list.
func (r *rig) capability(id uint32) uint16 {
	for at := uint16(r.u.ReadConfig(0x34, 1)); at != 0; at = uint16(r.u.ReadConfig(at+1, 1)) {
		if r.u.ReadConfig(at, 1) == id {
			return at
		}
	}
	r.T.Fatalf("no capability %#x", id)
	return 0
}

func TestPCIFunction(t *testing.T) {
	r := newRig(t)
	require.EqualValues(t, 0x1022, r.u.ReadConfig(0, 2))
	require.EqualValues(t, 0x080600, r.u.ReadConfig(8, 4)>>8)
	require.NotZero(t, r.u.ReadConfig(6, 2)&0x10, "a list of capabilities")
	at := r.capability(spec.CapID)
	require.EqualValues(t, 3, r.u.ReadConfig(at+2, 1)&7, "type of an IOMMU")
	require.EqualValues(t, 0x19, r.u.ReadConfig(at+3, 1), "IotlbSup, EFRSup, CapExt")
	require.EqualValues(t, 64<<15|52<<8|2<<5, r.u.ReadConfig(at+0x10, 4))
	require.EqualValues(t, 0xa803_0008, r.u.ReadConfig(r.capability(8), 4))
	m := presetRig(t, "minimal")
	require.EqualValues(t, 0x08, m.u.ReadConfig(m.capability(spec.CapID)+3, 1))
	require.EqualValues(t, 0x80, m.u.ReadConfig(m.capability(spec.MSICapID)+2, 1), "64-bit addresses")
	for _, bad := range []struct {
		off  uint16
		size uint8
	}{{1, 2}, {2, 4}, {0, 8}, {0, 3}, {0x100, 4}, {0xfffc, 4}} {
		r.u.WriteConfig(bad.off, bad.size, ^uint32(0))
		require.Zero(t, r.u.ReadConfig(bad.off, bad.size))
	}
}

func TestWindowBaseIsLockedByEnable(t *testing.T) {
	r := newRig(t)
	at := r.capability(spec.CapID)
	for off, want := range map[uint16]uint32{
		4: 0xfff8_0000, 8: 0xffff_fffe, 0: r.u.ReadConfig(at, 4), 0xc: 0, 0x10: r.u.ReadConfig(at+0x10, 4), 0x14: 0,
	} {
		r.u.WriteConfig(at+off, 4, ^uint32(1))
		require.Equal(t, want, r.u.ReadConfig(at+off, 4), "%#x", off)
	}
	r.u.WriteConfig(at+8, 4, 0x12)
	_, on := r.u.Base()
	require.False(t, on)
	r.u.WriteConfig(at+4, 4, 0xfd88_0001)
	for range 2 {
		base, on := r.u.Base()
		require.True(t, on)
		require.Equal(t, emu.PA(0x12_fd88_0000), base)
		r.u.WriteConfig(at+4, 4, 0)
		r.u.WriteConfig(at+8, 4, 0)
	}
	r.u.Reset(emu.ResetCold)
	base, on := r.u.Base()
	require.False(t, on)
	require.Zero(t, base)
	// A unit without counters has a smaller window.
	m := presetRig(t, "minimal")
	m.u.WriteConfig(at+4, 4, ^uint32(1))
	require.EqualValues(t, 0xffff_c000, m.u.ReadConfig(at+4, 4))
}

func TestMSICapabilityIsMirrored(t *testing.T) {
	r := newRig(t)
	r.configureMSI(0x12_fee0_3004, 0x55, true)
	require.EqualValues(t, 0xfee0_3004, r.R32(spec.OffMSIAddrLow))
	require.EqualValues(t, 0x12, r.R32(spec.OffMSIAddrHigh))
	require.EqualValues(t, 0x55, r.R32(spec.OffMSIData))
	require.True(t, spec.MsiEn.On(r.R32(spec.OffMSICapHeader)))
	r.W32(spec.OffMSIData, 0x66)
	require.EqualValues(t, 0x66, r.u.ReadConfig(r.capability(spec.MSICapID)+12, 4))
	require.EqualValues(t, spec.MSIMapping, r.R32(spec.OffMSIMapCap))
}

func TestBlockedRequestsSignalATargetAbort(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.DteTV, 0})
	require.Zero(t, r.u.ReadConfig(6, 2)&spec.PCIStatusSignaledAbrt)
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultTV)
	require.NotZero(t, r.u.ReadConfig(6, 2)&spec.PCIStatusSignaledAbrt)
	r.u.WriteConfig(4, 2, 6) // the command register alone
	require.NotZero(t, r.u.ReadConfig(6, 2)&spec.PCIStatusSignaledAbrt)
	u, err := amdvi.New(r.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(emutest.Save(r.u))))
	require.Equal(t, r.u.ReadConfig(4, 4), u.ReadConfig(4, 4))
	r.u.WriteConfig(6, 2, spec.PCIStatusSignaledAbrt)
	require.Zero(t, r.u.ReadConfig(6, 2)&spec.PCIStatusSignaledAbrt)
	require.EqualValues(t, 6, r.u.ReadConfig(4, 2))
}
