package emutest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/reg"
)

// RequireSound requires of layouts that their fields are in order and apart, inside the structure and
// inside a word, and explained; and of what is in pieces, that the pieces are fields and make up a value
// without holes.
func RequireSound(t *testing.T, layouts ...*reg.Layout) {
	for _, l := range layouts {
		require.NotEmpty(t, l.Clause, l.Name)
		next, names := uint16(0), map[string]bool{}
		for _, f := range l.Fields {
			require.GreaterOrEqual(t, f.Lo, next, "%s.%s overlaps or is out of order", l.Name, f.Name)
			require.GreaterOrEqual(t, f.Hi, f.Lo)
			require.Less(t, f.Hi, l.Bits, "%s.%s", l.Name, f.Name)
			require.Equal(t, f.Lo/64, f.Hi/64, "%s.%s crosses a word", l.Name, f.Name)
			require.False(t, names[f.Name], "%s.%s twice", l.Name, f.Name)
			require.NotEmpty(t, f.Help)
			next, names[f.Name] = f.Hi+1, true
		}
		for _, j := range l.Joints {
			require.NotEmpty(t, j.Help, "%s.%s", l.Name, j.Name)
			var all uint64
			for _, p := range j.Pieces {
				known := slices.ContainsFunc(l.Fields, func(f reg.Field) bool { return f.Bits() == p.Bits })
				require.True(t, known, "%s.%s: a piece that is no field", l.Name, j.Name)
				require.Zero(t, all&(p.Bits.Max()<<p.Shift), "%s.%s overlaps", l.Name, j.Name)
				all |= p.Bits.Max() << p.Shift
			}
			all >>= j.Pieces[0].Shift
			require.Zero(t, all&(all+1), "%s.%s has a hole", l.Name, j.Name)
		}
	}
}

// RequireSoundRegisters requires of a list of registers that each has a place and a name of its own, in
// order and inside the window, and a layout of its size if it has one.
func RequireSoundRegisters(t *testing.T, window uint32, list []reg.Reg) {
	next, names := uint32(0), map[string]bool{}
	for _, r := range list {
		require.GreaterOrEqual(t, r.Off, next, r.Name)
		require.Contains(t, []uint8{4, 8}, r.Size, r.Name)
		require.Zero(t, r.Off%uint32(r.Size), r.Name)
		require.False(t, names[r.Name], r.Name)
		require.NotEmpty(t, r.Clause, r.Name)
		if r.Layout != nil {
			require.Equal(t, int(r.Size)*8, int(r.Layout.Bits), r.Name)
		}
		next, names[r.Name] = r.Off+uint32(r.Size), true
	}
	require.LessOrEqual(t, next, window)
}
