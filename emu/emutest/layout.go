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
