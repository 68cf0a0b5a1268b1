package conform_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

func TestMessageOfAPCIFunctionIsOn(t *testing.T) {
	u, err := amdvi.New(amdvi.DefaultConfig())
	require.NoError(t, err)
	m := conform.NewModel("model", u, conform.Machine{Size: 1 << 20, MSI: &conform.Message{Addr: emu.MSIAddress | 0x5000, Data: 0x31}}, nil)
	for range 2 { // power on, and after a reset
		for off, want := range map[uint32]uint64{spec.OffMSIAddrLow: uint64(emu.MSIAddress | 0x5000), spec.OffMSIAddrHigh: 0, spec.OffMSIData: 0x31} {
			v, err := m.ReadReg(off, 4)
			require.NoError(t, err)
			require.Equal(t, want, v, "%#x", off)
		}
		v, err := m.ReadReg(spec.OffMSICapHeader, 4)
		require.NoError(t, err)
		require.True(t, spec.MsiEn.On(v))
		require.NoError(t, m.Reset())
	}
}
