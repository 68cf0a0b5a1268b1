package pagetable

import (
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// handWalk walks as the specification tells it (VT-d 3.6, 9.7), without any of the format's code.
func handWalk(a *arena, f X86, root emu.PA, levels int, iova uint64) (pa uint64, perm Perm, found bool) {
	haw := uint(f.HAW)
	table, write, user, xd := uint64(root), true, true, false
	for l := levels; l >= 1; l-- {
		e := a.Load64(emu.PA(table + iova>>(12+9*(l-1))&0x1ff*8))
		if e&1 == 0 {
			return 0, 0, false
		}
		reserved := uint64(1)<<52 - uint64(1)<<haw
		if !f.NXE {
			reserved |= 1 << 63
		}
		large := e>>7&1 == 1 && l > 1
		switch {
		case large && (l > 3 || f.Without>>(12+9*(l-1))&1 == 1):
			return 0, 0, false
		case large && l == 3:
			reserved |= 0x3fff_e000 // 29:13
		case large && l == 2:
			reserved |= 0x001f_e000 // 20:13
		}
		if e&reserved != 0 {
			return 0, 0, false
		}
		write = write && e>>1&1 == 1
		user = user && e>>2&1 == 1
		xd = xd || e>>63 == 1
		if l > 1 && !large {
			table = e & 0x000f_ffff_ffff_f000
			continue
		}
		low := uint64(1)<<(12+9*(l-1)) - 1
		pa = e&0x000f_ffff_ffff_f000&^low | iova&low
		if !user && !f.Supervisor {
			return pa, 0, true
		}
		perm = Read
		if write {
			perm |= Write
		}
		if f.NXE && !xd {
			perm |= Exec
		}
		return pa, perm, true
	}
	panic("unreachable")
}

// TestX86_AgainstAHandWrittenWalk fills tables with random bits and compares every look-up.
func TestX86_AgainstAHandWrittenWalk(t *testing.T) {
	a := newArena(1)
	r := rand.New(rand.NewPCG(7, 7))
	var holes, none, leaves, large int
	for round := range 400 {
		a.reset()
		bits := r.Uint32()
		f := X86{HAW: uint8(40 + bits>>8&7), NXE: bits&1 != 0, Supervisor: bits&2 != 0}
		if bits&4 != 0 {
			f.Without = 1 << 30
		}
		levels := 4 + round&1
		tab, err := New(f, a, a, Config{Levels: uint8(levels), SignExtend: true})
		require.NoError(t, err)
		pages := []emu.PA{tab.root}
		for range 6 {
			pa, err := a.Alloc(12)
			require.NoError(t, err)
			pages = append(pages, pa)
		}
		fillRandom(r, a, pages)
		for range 400 {
			iova := uint64(int64(r.Uint64()) >> (64 - 12 - 9*levels))
			pa, perm, ok := handWalk(a, f, tab.root, levels, iova)
			got, found := tab.Lookup(emu.IOVA(iova))
			require.Equal(t, ok, found, "%#x", iova)
			require.Equal(t, []any{emu.PA(pa), perm}, []any{got.PA, got.Perm}, "%v %#x", f, iova)
			switch {
			case !ok:
				holes++
			case perm == 0:
				none++
			case got.Lg2 > 12:
				large++
			default:
				leaves++
			}
		}
	}
	for _, n := range []int{holes, none, leaves, large} {
		require.Greater(t, n, 1000, "every outcome is met")
	}
}

// fillRandom fills pages with links to pages and leaves, often flawless.
func fillRandom(r *rand.Rand, a *arena, pages []emu.PA) {
	for _, p := range pages {
		for i := range emu.PA(512) {
			e := r.Uint64() & 0x7ff0_0000_0000_0e7f // rights, attributes, ignored bits
			if r.IntN(8) != 0 {
				e |= 7 // P, R/W, U/S
			}
			if r.IntN(8) == 0 {
				e |= 1 << 63
			}
			if r.IntN(4) != 0 {
				e |= uint64(pages[r.IntN(len(pages))])
			} else {
				e |= r.Uint64() & 0x0000_00ff_c000_1000 &^ (r.Uint64() & r.Uint64()) // 1 GiB aligned, PAT
				e |= 0x80
			}
			if r.IntN(30) == 0 {
				e |= 1 << (12 + r.IntN(40))
			}
			// A link must stay within the memory, whatever was changed.
			if to := emu.PA(e & 0x000f_ffff_ffff_f000); e&0x80 == 0 && a.live[to] == 0 {
				e = e&^0x000f_ffff_ffff_f000 | uint64(pages[0])
			}
			a.Store64(p+i*8, e)
		}
	}
}
