package clock

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

func draw(s *Stream, n int) []uint64 {
	v := make([]uint64, n)
	for i := range v {
		v[i] = s.Uint64()
	}
	return v
}

func TestStreamsAreSeededByNameAndSeed(t *testing.T) {
	a := draw(NewStream(1, "walker"), 4)
	require.Equal(t, a, draw(NewStream(1, "walker"), 4))
	require.NotEqual(t, a, draw(NewStream(2, "walker"), 4))
	require.NotEqual(t, a, draw(NewStream(1, "walker2"), 4))
	// The hash is FNV-1a: the published vector of "foobar".
	require.Equal(t, uint64(0x85944171f73967e8), fnv1a("foobar"))
}

func TestStreamSaveRestore(t *testing.T) {
	s := NewStream(7, "x")
	draw(s, 10)
	var e emu.Encoder
	s.Save(&e)
	want := draw(s, 10)
	o := NewStream(0, "")
	require.NoError(t, o.Restore(emu.NewDecoder(e.Bytes())))
	require.Equal(t, want, draw(o, 10))
	for n := range len(e.Bytes()) {
		require.ErrorIs(t, o.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState)
	}
}
