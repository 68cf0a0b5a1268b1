package caches_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/caches"
	"github.com/iommulab/iommulab/iotlb"
)

func config() caches.Config {
	g := iotlb.Geometry{Sets: 4, Ways: 2}
	return caches.Config{
		Entry: caches.Sized{Name: "DeviceCache", Geometry: g}, PASID: caches.Sized{Name: "PASIDCache", Geometry: g},
		IOTLB: caches.Sized{Name: "IOTLB", Geometry: g}, Stage2: caches.Sized{Name: "Stage2", Geometry: g},
		Interrupt: caches.Sized{Name: "Interrupt", Geometry: g},
		Walk:      caches.Levels{Name: "Walk", Levels: []iotlb.Level{{Lg2: 21, Geometry: g}}},
		Walk2:     caches.Levels{Name: "Walk2", Levels: []iotlb.Level{{Lg2: 21, Geometry: g}}},
	}
}

func TestEveryIDHasACacheOfItsOwn(t *testing.T) {
	s, err := caches.New(config())
	require.NoError(t, err)
	seen := map[emu.Cache]bool{}
	for id := range emu.NumCaches {
		c := s.Get(id)
		require.NotNil(t, c, "%d", id)
		require.False(t, seen[c], "%d", id)
		seen[c] = true
	}
	require.Nil(t, s.Get(emu.NumCaches))
	none, err := caches.New(caches.Config{})
	require.NoError(t, err)
	for id := range emu.NumCaches {
		require.Nil(t, none.Get(id), "a nil interface")
	}
	none.Reset()
}

func TestErrorNamesTheCache(t *testing.T) {
	c := config()
	c.PASID.Geometry.Sets = 3
	_, err := caches.New(c)
	require.ErrorIs(t, err, iotlb.ErrGeometry)
	require.ErrorContains(t, err, "PASIDCache: ")
}

func TestSaveRestoreKeepsEveryCache(t *testing.T) {
	s, err := caches.New(config())
	require.NoError(t, err)
	k := emu.Key{Tag: emu.MakeTag(1, 7, emu.NoPASID), Addr: 0x20_0000}
	for id := range emu.NumCaches {
		s.Get(id).Fill(&k, 21, 7, &[4]uint64{uint64(id) + 1})
	}
	var e emu.Encoder
	s.Save(&e)
	other, err := caches.New(config())
	require.NoError(t, err)
	require.NoError(t, other.Restore(emu.NewDecoder(e.Bytes())))
	var v [4]uint64
	for id := range emu.NumCaches {
		require.True(t, other.Get(id).Probe(&k, &v), "%d", id)
		require.EqualValues(t, id+1, v[0])
	}
	other.Reset()
	for id := range emu.NumCaches {
		require.False(t, other.Get(id).Probe(&k, &v), "%d", id)
	}
	for n := 0; n < len(e.Bytes()); n += 101 {
		require.ErrorIs(t, other.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState)
	}
}
