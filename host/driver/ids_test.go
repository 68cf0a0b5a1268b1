package driver

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/host"
)

func TestIDs_LowestFreeFirstAndReserved(t *testing.T) {
	s := NewIDs("x", 2, 16)
	require.EqualValues(t, 2, s.Peek())
	for want := uint32(2); want < 16; want++ {
		id, err := s.Take(0)
		require.NoError(t, err)
		require.Equal(t, want, id)
	}
	require.Zero(t, s.Peek())
	_, err := s.Take(0)
	require.ErrorIs(t, err, host.ErrNoID)
	s.Put(7)
	s.Put(5)
	id, err := s.Take(0)
	require.NoError(t, err)
	require.Equal(t, uint32(5), id)
	_, err = s.Take(5)
	require.ErrorIs(t, err, host.ErrBusy)
	require.EqualError(t, err, "x: domain id 5 of 16: in use")
	id, err = s.Take(7)
	require.NoError(t, err)
	require.Equal(t, uint32(7), id)

	// What an earlier system uses may be any number.
	s.Reserve(99)
	s.Put(99)
	s.Put(1)
	_, err = s.Take(1)
	require.ErrorIs(t, err, host.ErrBusy)
	_, err = s.Take(99)
	require.ErrorIs(t, err, host.ErrBusy)
}

func TestSlots_AlignedBlocks(t *testing.T) {
	s := NewSlots(8)
	take := func(n, want int) {
		got, ok := s.Take(n)
		require.Equal(t, want >= 0, ok)
		if ok {
			require.Equal(t, want, got)
		}
	}
	take(1, 0)
	take(4, 4)
	take(2, 2)
	take(2, -1)
	take(1, 1)
	take(1, -1)
	s.Put(4, 4)
	s.Mark(5, 1)
	take(2, 6)
	take(1, 4)
	take(1, -1)
	require.Equal(t, 8, s.Len())
}

// Ids of two kinds are told apart by what they are counted from.
func TestIDs_From(t *testing.T) {
	s := NewIDs("x", 1, 4).From(100)
	require.EqualValues(t, 101, s.Peek())
	for want := uint32(101); want < 104; want++ {
		id, err := s.Take(0)
		require.NoError(t, err)
		require.Equal(t, want, id)
	}
	_, err := s.Take(0)
	require.ErrorIs(t, err, host.ErrNoID)
	s.Put(102)
	require.EqualValues(t, 102, s.Peek())
	for id, has := range map[uint32]bool{0: false, 3: false, 99: false, 100: true, 103: true, 104: false} {
		require.Equal(t, has, s.Has(id), id)
	}
	for _, id := range []uint32{2, 99, 104} {
		_, err := s.Take(id)
		require.ErrorIs(t, err, host.ErrBusy)
		s.Put(id)
		s.Reserve(id)
	}
	s.Put(100) // never handed out
	require.EqualValues(t, 102, s.Peek())
	s.Reserve(102)
	require.Zero(t, s.Peek())
}
