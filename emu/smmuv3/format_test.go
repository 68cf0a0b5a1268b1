package smmuv3

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// What a format calls plain is what regime, field by field, finds nothing unusual about, in the same place.
func TestFormatsAgreeWithRegimes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var tables, leaves int
	for i := range 1 << 18 {
		r, haft := regime(rng.Uint32()&0x7f), i&1
		if r.granule() == 0 || regOut.Of(uint64(r)) == 7 {
			continue
		}
		k := &formats[haft][r]
		e := rng.Uint64() &^ (rng.Uint64() & rng.Uint64() & 0xfff0_0000_0000_0000)
		if i&2 != 0 { // most addresses are too large
			e &= 0x0000_0000_ffff_f4ff | 1<<52 | 1<<59
		}
		e |= rng.Uint64() & 3
		in, top := rng.Uint64()>>16, int8((51-uint8(r.granule()))/r.granule().Stride())
		level := int8(rng.IntN(int(top) + 1))
		require.Equal(t, r.granule().Shift(level), k.shift(level))
		if level != spec.LevelPage && k.table[1].is(e) {
			tables++
			require.True(t, isTable(r.order(e), level))
			next := r.address(r.order(e), uint8(r.granule()))
			require.Equal(t, next, e&k.address, "%#x under %#x", e, r)
			require.False(t, r.beyond(next))
			require.True(t, haft == 0 || spec.TtdAF.On(e))
			require.Equal(t, limitsOf(e) == 0, k.table[0].is(e))
		}
		if k.leaf[level].is(e) {
			leaves++
			require.True(t, r.valid(e, level) && !isTable(e, level) && spec.TtdAF.On(e))
			page, lg2 := r.leaf(e, in, level)
			gotPage, gotLg2 := k.leafOf(e, level)
			require.Equal(t, page, gotPage, "%#x under %#x", e, r)
			require.Equal(t, lg2, gotLg2)
			require.False(t, r.beyond(page))
		}
	}
	require.Greater(t, tables, 1000)
	require.Greater(t, leaves, 1000)
}

// start is the division that it stands for.
func TestFormatStart(t *testing.T) {
	for _, g := range []spec.Granule{spec.Granule4K, spec.Granule16K, spec.Granule64K} {
		code, _ := g.TLBI()
		k := &formats[0][regime(regGranule.Put(code))]
		for in := uint8(g) + 1; in <= 52; in++ {
			level, bits := k.start(in)
			require.EqualValues(t, (in-1-uint8(g))/g.Stride(), level, "%d of %d", in, g)
			require.Equal(t, in-g.Shift(level), bits)
		}
	}
}
