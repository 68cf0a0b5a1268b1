package mem

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func TestBusErrorRegion(t *testing.T) {
	m := New()
	require.True(t, m.Store64(0x2000, 1))
	ro := m.AddBusError(0x2010, 0x201f, emu.Write)
	wo := m.AddBusError(0x2020, 0x202f, emu.Read)

	load := func(pa emu.PA) bool { _, ok := m.Load64(pa); return ok }
	or := func(pa emu.PA) bool { _, ok := m.Or(pa, 1); return ok }
	require.True(t, load(0x2008) && m.Store64(0x2008, 1))
	require.True(t, load(0x2010))
	require.False(t, m.Store64(0x2010, 1))
	require.False(t, or(0x2010))
	require.False(t, load(0x2020))
	require.True(t, m.Store64(0x2020, 1))
	require.False(t, or(0x2020), "a read-modify-write needs both directions")
	require.True(t, load(0x2030) && m.Store64(0x2030, 1))

	var v, f [4]uint64
	require.False(t, m.Load(0x2020, 32, &v), "part of the access is in the region")
	require.False(t, m.Store(0x2000, 32, &v))
	_, ok := m.CAS(0x2010, 16, &v, &v, &f)
	require.False(t, ok)
	require.False(t, m.Zero(0x2000))
	var b [0x40]byte
	require.False(t, m.Read(0x2000, b[:]))
	require.EqualValues(t, 1, b[0], "what lies below the region was read")

	require.True(t, m.RemoveBusError(ro))
	require.False(t, m.RemoveBusError(ro))
	require.True(t, m.Store64(0x2010, 1))
	require.False(t, load(0x2020))
	require.True(t, m.RemoveBusError(wo))
	require.True(t, load(0x2020) && or(0x2020))
}

func TestWatchSeesEveryKindOfStore(t *testing.T) {
	m := New()
	type hit struct {
		PA   emu.PA
		Size uint8
	}
	var got []hit
	m.Store64(0x3000, 1) // the page is known as writable before the watch begins
	stop := m.Watch(0x3010, 0x301f, func(pa emu.PA, size uint8) { got = append(got, hit{pa, size}) })
	var v, f [4]uint64
	m.Store64(0x3008, 1)
	m.Store64(0x3018, 1)
	m.Store(0x3000, 32, &v)
	m.Store(0x301c, 4, &v)
	m.Or(0x3010, 1)
	m.CAS(0x3010, 8, &[4]uint64{9}, &v, &f) // not swapped
	m.CAS(0x3010, 8, &[4]uint64{1}, &v, &f)
	m.Write(0x300f, []byte{1, 2})
	require.Equal(t, []hit{{0x3018, 8}, {0x3000, 32}, {0x301c, 4}, {0x3010, 8}, {0x3010, 8}, {0x3010, 8}}, got)
	got = nil
	m.Zero(0x3000)
	require.Equal(t, []hit{{0x3010, 8}, {0x3018, 8}}, got)
	stop()
	m.Store64(0x3010, 1)
	require.Len(t, got, 2)
}

func TestWatchMayStopInsideItsHook(t *testing.T) {
	m := New()
	n := 0
	var stop func()
	stop = m.Watch(0, 7, func(emu.PA, uint8) { n++; stop() })
	m.Watch(0, 7, func(emu.PA, uint8) { n += 10 })
	m.Store64(0, 1)
	m.Store64(0, 1)
	require.Equal(t, 21, n)
}
