package pagetable

import (
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// handWalkV1 walks as the specification tells it (AMD 48882 2.2.3), with its own numbers of levels and
// without any of the format's code. why tells how the walk ended.
func handWalkV1(a *arena, root emu.PA, mode int, iova uint64) (pa uint64, size int, perm Perm, why string) {
	if mode < 6 && iova>>(12+9*mode) != 0 {
		return 0, 0, 0, "width"
	}
	table, ir, iw := uint64(root), true, true
	for level := mode; ; {
		low := 12 + 9*(level-1) // address bits below this level's index
		e := a.Load64(emu.PA(table + iova>>low&0x1ff*8))
		if e&1 == 0 {
			return 0, 0, 0, "not present"
		}
		ir = ir && e>>61&1 == 1
		iw = iw && e>>62&1 == 1
		next := int(e >> 9 & 7)
		switch {
		case (next == 0 || next == 7) && e&0x07f0_0000_0000_0000 != 0,
			next >= 1 && next <= 6 && e&0x1ff0_0000_0000_0000 != 0:
			return 0, 0, 0, "reserved"
		case next >= 1 && next <= 6 && next >= level, level == 6 && (next == 0 || next == 7):
			return 0, 0, 0, "level"
		case next >= 1 && next <= 6:
			skipped := uint64(1)<<low - uint64(1)<<(12+9*next)
			if next < level-1 && iova&skipped != 0 {
				return 0, 0, 0, "skipped bits"
			}
			table, level = e&0x000f_ffff_ffff_f000, next
			continue
		}
		size, why = low, "own size"
		if next == 7 {
			why = "coded"
			for size = 13; e>>(size-1)&1 == 1; size++ {
				if size == 53 {
					return 0, 0, 0, "size"
				}
			}
			if size <= low || size >= low+9 || size > 52 {
				return 0, 0, 0, "size"
			}
		}
		mask := uint64(1)<<size - 1
		pa = e&0x000f_ffff_ffff_f000&^mask | iova&mask
		if ir {
			perm |= Read
		}
		if iw {
			perm |= Write
		}
		return pa, size, perm, why
	}
}

// TestAMDv1_AgainstAHandWrittenWalk fills tables with random bits and compares every look-up.
func TestAMDv1_AgainstAHandWrittenWalk(t *testing.T) {
	a := newArena(1)
	r := rand.New(rand.NewPCG(17, 7))
	met := map[string]int{}
	for round := range 400 {
		a.reset()
		mode := 1 + round%6
		tab, err := New(AMDv1{}, a, a, Config{Levels: uint8(mode)})
		require.NoError(t, err)
		pages := []emu.PA{tab.root}
		for range 6 {
			pa, err := a.Alloc(12)
			require.NoError(t, err)
			pages = append(pages, pa)
		}
		fillRandomV1(r, a, pages)
		for range 400 {
			iova := r.Uint64() >> (r.IntN(2) * r.IntN(64))
			if mode < 6 && r.IntN(8) != 0 {
				iova &= 1<<(12+9*mode) - 1
			}
			for range r.IntN(3) { // clear the index of a level, as a skipping link wants it
				iova &^= 0x1ff << (12 + 9*r.IntN(6))
			}
			pa, size, perm, why := handWalkV1(a, tab.root, mode, iova)
			met[why]++
			got, found := tab.Lookup(emu.IOVA(iova))
			require.Equal(t, size != 0, found, "%#x: %s", iova, why)
			want := Translation{PA: emu.PA(pa), Lg2: uint8(size), Perm: perm, Attr: got.Attr}
			require.Equal(t, want, got, "%#x: %s", iova, why)
		}
	}
	for _, why := range []string{"width", "not present", "reserved", "level", "size", "skipped bits", "own size", "coded"} {
		require.Greater(t, met[why], 400, "%s: every outcome is met; %v", why, met)
	}
}

// fillRandomV1 fills pages with links to pages and leaves, often flawless.
func fillRandomV1(r *rand.Rand, a *arena, pages []emu.PA) {
	for _, p := range pages {
		for i := range emu.PA(512) {
			e := r.Uint64()&0xf800_0000_0000_01ff | uint64(r.IntN(8))<<9
			if r.IntN(16) != 0 {
				e |= 1 | 3<<61
			}
			next := e >> 9 & 7
			switch {
			case next == 7 && r.IntN(8) != 0:
				n := 13 + r.IntN(40) // any size
				e |= r.Uint64()&0x000f_ffff_ffff_f000&^(1<<(n-1)) | (1<<(n-1)-1)&^0xfff
			case next == 0 || next == 7:
				e |= r.Uint64() & 0x000f_ffff_ffff_f000
			default:
				e |= uint64(pages[r.IntN(len(pages))])
				if r.IntN(16) != 0 {
					e &^= 3 << 59
				}
			}
			if r.IntN(24) == 0 {
				e |= 1 << (52 + r.IntN(7))
			}
			a.Store64(p+i*8, e)
		}
	}
}
