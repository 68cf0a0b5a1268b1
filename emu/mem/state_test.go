package mem

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func TestSaveRestore(t *testing.T) {
	m := New()
	m.SetLimit(1 << 46)
	m.Store64(0x1008, 0x1122334455667788)
	m.Store64(1<<45, 2)
	m.Store64(0x7000, 0)
	id := m.AddBusError(0x9000, 0x9fff, emu.Write)
	var e emu.Encoder
	m.Save(&e)

	n := New()
	n.Store64(0x5000, 5)
	hits := 0
	n.Watch(0x1000, 0x1fff, func(emu.PA, uint8) { hits++ })
	require.NoError(t, n.Restore(emu.NewDecoder(e.Bytes())))
	require.True(t, m.Equal(n))
	require.Equal(t, emu.PA(1<<46), n.Limit())
	require.False(t, n.Store64(0x9000, 1))
	require.True(t, n.RemoveBusError(id))
	n.Store64(0x1008, 1)
	require.Equal(t, 1, hits)

	var again emu.Encoder
	m.Clone().Save(&again)
	require.Equal(t, e.Bytes(), again.Bytes())
}

func TestRestoreOfDamageLeavesMemoryAlone(t *testing.T) {
	m := New()
	m.Store64(0x1000, 1)
	var e emu.Encoder
	m.Save(&e)
	for n := range len(e.Bytes()) {
		o := New()
		o.Store64(0x2000, 2)
		require.ErrorIs(t, o.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState)
		v, _ := o.Load64(0x2000)
		require.EqualValues(t, 2, v)
	}
}
