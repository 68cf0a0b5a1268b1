package iotlb

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

var walkLevels = []Level{
	{39, Geometry{Sets: 1, Ways: 2}},
	{21, Geometry{Sets: 4, Ways: 4}},
	{48, Geometry{}},
	{30, Geometry{Sets: 1, Ways: 4, Policy: TreePLRU}},
}

func mustNewWalk(t require.TestingT) *Walk {
	w, err := NewWalk(walkLevels)
	require.NoError(t, err)
	return w
}

func TestNewWalk_Errors(t *testing.T) {
	for _, l := range [][]Level{
		{{21, Geometry{Sets: 1, Ways: 1}}, {21, Geometry{Sets: 2, Ways: 1}}},
		{{64, Geometry{Sets: 1, Ways: 1}}},
		{{21, Geometry{Sets: 3, Ways: 1}}},
	} {
		_, err := NewWalk(l)
		require.ErrorIs(t, err, ErrGeometry)
		require.ErrorContains(t, err, "level ")
	}
}

func TestWalk_OverlapsRegionsThatAreNoLarger(t *testing.T) {
	w := mustNewWalk(t)
	fill(w, 0, 1, emu.NoPASID, 0x4020_0000, 21)
	fill(w, 0, 2, emu.NoPASID, 0x4020_0000, 30)
	key := &emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID), Addr: 0x4020_3000}
	for lg2, want := range map[uint8]bool{12: false, 20: false, 21: true, 30: true, 63: true} {
		require.Equal(t, want, w.Overlaps(key, lg2), lg2)
	}
	key.Tag = emu.MakeTag(0, 2, emu.NoPASID)
	require.False(t, w.Overlaps(key, 29))
	require.True(t, w.Overlaps(key, 30))
	key.Addr = 0x8000_0000
	require.False(t, w.Overlaps(key, 63))
	require.Zero(t, w.Stats().Lookups)
}

func TestWalk_LongestMatch(t *testing.T) {
	w := mustNewWalk(t)
	for _, lg2 := range []uint8{39, 21, 30, 48, 12} {
		fill(w, 0, 1, emu.NoPASID, 0x4020_0000, lg2)
	}
	var val [4]uint64
	key := emu.Key{Tag: emu.MakeTag(0, 1, emu.NoPASID)}
	for _, want := range []struct{ addr, lg2 uint64 }{{0x4020_1234, 21}, {0x4000_0000, 30}, {0, 39}} {
		key.Addr = want.addr
		require.True(t, w.Probe(&key, &val))
		require.Equal(t, want.lg2, val[1])
	}
	key.Addr = 1 << 40
	require.False(t, w.Probe(&key, &val))
	require.Equal(t, emu.CacheStats{Lookups: 4, Hits: 3, Fills: 3}, w.Stats())
	require.Equal(t, emu.CacheStats{Lookups: 4, Hits: 1, Fills: 1}, w.LevelStats(1))
	require.Equal(t, emu.CacheStats{}, w.LevelStats(2))

	// A page drops every table above it, and no neighbour's.
	fill(w, 0, 1, emu.NoPASID, 0x4040_0000, 21)
	w.Invalidate(&emu.Selector{Match: emu.MatchDomain | emu.MatchAddress, Domain: 1, First: 0x4020_5000, Last: 0x4020_5fff})
	require.Equal(t, uint64(3), w.Stats().Invalidated)
	require.True(t, has(w, 0, 1, emu.NoPASID, 0x4040_0000))
	require.False(t, has(w, 0, 1, emu.NoPASID, 0))
}

func TestWalk_AgreesWithOneModelPerLevel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := mustNewWalk(t)
		var models []*model
		for _, l := range w.levels {
			models = append(models, newModel(l.Cache))
		}
		serial := uint64(0)
		t.Repeat(map[string]func(*rapid.T){
			"fill": func(t *rapid.T) {
				serial++
				key, i := drawKey(t), rapid.IntRange(0, len(models)-1).Draw(t, "level")
				w.Fill(&key, w.levels[i].lg2, uint32(serial%3), &[4]uint64{serial})
				models[i].fill(key, w.levels[i].lg2, key.Tag.Domain(), uint8(serial%3), [4]uint64{serial})
			},
			"probe": func(t *rapid.T) {
				key := drawKey(t)
				var got, want [4]uint64
				hit := false
				for _, m := range models {
					if hit = m.probe(key, &want); hit {
						break
					}
				}
				require.Equal(t, hit, w.Probe(&key, &got))
				require.Equal(t, want, got)
			},
			"invalidate": func(t *rapid.T) {
				s := drawSelector(t)
				w.Invalidate(s)
				for _, m := range models {
					m.invalidate(s)
				}
			},
			"checkpoint": func(t *rapid.T) {
				var e, again emu.Encoder
				w.Save(&e)
				r := mustNewWalk(t)
				require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
				r.Save(&again)
				require.Equal(t, e.Bytes(), again.Bytes())
				w = r
			},
			"": func(t *rapid.T) {
				total := uint64(0)
				for i, m := range models {
					m.stats.Lookups, m.stats.Hits = 0, 0 // the walk counts them
					require.Empty(t, m.diff(w.levels[i].Cache))
					total += m.stats.Evictions
				}
				require.Equal(t, total, w.Stats().Evictions)
			},
		})
	})
}
