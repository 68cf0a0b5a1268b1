package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func busyRig(t *testing.T) *nested {
	n := newNested(t)
	n.interrupts(7)
	n.leaf(iova, 0x77_0000, s1RW)
	n.mapPage(n.s2, 0x77_0000, 0x99_0000, s2RW)
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	n.Access(dev, iova+0x1000, emu.Read)
	n.push([2]uint64{}) // stops the queue
	n.ring()
	return n
}

func TestSaveRestoreIsTheSameUnit(t *testing.T) {
	n := busyRig(t)
	b := emutest.Save(n.u)
	u, err := smmuv3.New(n.u.Config())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Equal(t, emutest.Image(n.u, 0, spec.Window), emutest.Image(u, 0, spec.Window))
	q := dma(emu.Read)
	var x, y emu.Result
	require.True(t, n.u.Lookup(&q, &x))
	require.True(t, u.Lookup(&q, &y))
	require.Equal(t, x, y)
	// Both are stopped, and restart alike.
	require.Zero(t, u.WriteReg(spec.OffCMDQProd, 4, n.prod))
	require.Equal(t, smmuv3.EngineCommand.Set(), u.WriteReg(spec.OffGERRORN, 4, n.R32(spec.OffGERROR)))
}

func TestRestoreOfALoadedSnapshot(t *testing.T) {
	loaded, _ := captures[0].load(t)
	b := emutest.Save(loaded)
	u, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	require.NoError(t, u.Restore(emu.NewDecoder(b)))
	require.Equal(t, b, emutest.Save(u))
	require.Equal(t, loaded.Unmodelled(), u.Unmodelled())
}

func TestRestoreOfDamagedStateIsAnError(t *testing.T) {
	b := emutest.Save(busyRig(t).u)
	for n := 0; n < len(b); n += 97 {
		u, err := smmuv3.New(smmuv3.DefaultConfig())
		require.NoError(t, err)
		require.ErrorIs(t, u.Restore(emu.NewDecoder(b[:n])), emu.ErrState, "%d bytes", n)
	}
	other := smmuv3.DefaultConfig()
	other.IOTLB.Ways = 2
	u, err := smmuv3.New(other)
	require.NoError(t, err)
	require.ErrorIs(t, u.Restore(emu.NewDecoder(b)), emu.ErrState)
}

func TestUnknownStatesAndStepsDoNoHarm(t *testing.T) {
	u, err := smmuv3.New(smmuv3.DefaultConfig())
	require.NoError(t, err)
	for _, s := range []uint16{0, 100, 127, 128, 128 + 100} {
		x := emu.Txn{State: s}
		u.Step(&x)
		require.Equal(t, emu.OpDone, x.Act.Op)
	}
	require.Equal(t, "step 999", u.Describe(999).Name)
	require.Equal(t, "stream table entry", u.Describe(smmuv3.StepSTE).Name)
	require.Equal(t, "fault 0xfff", u.FaultName(0xfff))
	require.Equal(t, "C_BAD_STE: V=0", u.FaultName(smmuv3.FaultSTEInvalid))
	for s := emu.Step(1); u.Describe(s).Name != ""; s++ {
		if s > 60 {
			break
		}
		require.NotEmpty(t, u.Describe(s).Name)
	}
}
