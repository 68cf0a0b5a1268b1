package emu_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func TestPresetsAreFoundByName(t *testing.T) {
	list := emu.Presets[int]{
		{PresetInfo: emu.PresetInfo{Name: "one", Doc: "the first"}, Config: func() int { return 1 }},
		{PresetInfo: emu.PresetInfo{Name: "two"}, Config: func() int { return 2 }},
	}
	require.Equal(t, []emu.PresetInfo{{Name: "one", Doc: "the first"}, {Name: "two"}}, list.Info())
	c, err := list.Get("two")
	require.NoError(t, err)
	require.Equal(t, 2, c)
	_, err = list.Get("six")
	require.ErrorContains(t, err, `no preset "six"; want one of one, two`)
}

func TestRegisterImageByWords(t *testing.T) {
	m, err := emu.RegImage{{Off: 8, Size: 8, Value: 0x1_0000_0002}, {Off: 0x14, Size: 4, Value: 3}}.Words(0x18)
	require.NoError(t, err)
	for _, c := range []struct {
		off  uint32
		size uint8
		want uint64
		ok   bool
	}{{8, 8, 0x1_0000_0002, true}, {8, 4, 2, true}, {12, 4, 1, true}, {0x14, 4, 3, true}, {0x10, 8, 0, false}, {0, 4, 0, false}} {
		v, ok := m.Get(c.off, c.size)
		require.Equal(t, c.ok, ok, "%#x", c.off)
		if ok {
			require.Equal(t, c.want, v)
		}
	}
	for _, bad := range []emu.RegValue{{Off: 2, Size: 4}, {Off: 0, Size: 2}, {Off: 0x14, Size: 8}, {Off: ^uint32(3), Size: 8}} {
		_, err := emu.RegImage{bad}.Words(0x18)
		require.ErrorContains(t, err, "inside 0x18")
	}
}
