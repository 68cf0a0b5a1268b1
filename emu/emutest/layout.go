package emutest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/reg"
)

// RequireSound requires of layouts that their fields are in order and apart, inside the structure and
// inside a word, and explained.
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
	}
}
