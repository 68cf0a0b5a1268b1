package pagetable

import (
	"math/rand/v2"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/stretchr/testify/require"
)

// armWalk is what a walk of VMSAv8-64 needs to know: fields of a CD or an STE, by their own names and
// codes. Nothing of the formats' code is used.
type armWalk struct {
	root   uint64
	g      int // 12, 14, 16
	txsz   int
	start  int // lookup level to begin at
	oas    int // effective IPS or S2PS
	ds     bool
	oas52  bool // the unit has 52 bits of address: for the 64K granule
	stage2 bool
	ha, hd bool
	had    bool
	upper  bool // TTB1
	tbi    bool
	priv   bool
}

func field(v uint64, hi, lo int) uint64 { return v >> lo & (1<<(hi-lo+1) - 1) }

// address puts the output address of a descriptor together, down to bit lo.
func (w *armWalk) address(d uint64, lo int) uint64 {
	switch {
	case w.g == 16 && w.oas52:
		return field(d, 47, lo)<<lo | field(d, 15, 12)<<48
	case w.g != 16 && w.ds:
		return field(d, 49, lo)<<lo | field(d, 9, 8)<<50
	default:
		return field(d, 47, lo) << lo
	}
}

// walk translates va for an unprivileged (or, with priv, privileged) data access or instruction fetch. why
// is how the walk ended.
func (w *armWalk) walk(a *arena, va uint64) (pa uint64, size int, perm Perm, why string) {
	in := 64 - w.txsz
	top := 63
	if w.tbi {
		top = 55
	}
	same := uint64(0)
	if w.upper {
		same = 1<<(top-in+1) - 1
	}
	if field(va, top, in) != same {
		return 0, 0, 0, "range"
	}
	table := w.root
	user, write, fetch := true, true, true
	for level := w.start; ; level++ {
		low := w.g + (3-level)*(w.g-3)
		high := low + w.g - 3
		if level == w.start {
			high = in // of the concatenated tables as well
		}
		d := a.Load64(emu.PA(table + field(va, high-1, low)*8))
		if d&1 == 0 {
			return 0, 0, 0, "invalid"
		}
		if level < 3 && d&3 == 3 {
			table = w.address(d, w.g)
			if table>>w.oas != 0 {
				return 0, 0, 0, "address size"
			}
			if !w.stage2 && !w.had {
				user = user && field(d, 61, 61) == 0
				write = write && field(d, 62, 62) == 0
				fetch = fetch && field(d, 60, 60) == 0
			}
			continue
		}
		if level == 3 && d&3 == 1 {
			return 0, 0, 0, "reserved"
		}
		wide := w.g != 16 && w.ds || w.g == 16 && w.oas52
		block := map[int][]int{12: {2, 1}, 14: {2}, 16: {2}}[w.g]
		if wide {
			block = map[int][]int{12: {2, 1, 0}, 14: {2, 1}, 16: {2, 1}}[w.g]
		}
		legal := level == 3
		for _, b := range block {
			legal = legal || level == b
		}
		if !legal {
			return 0, 0, 0, "block"
		}
		out := w.address(d, low)
		if out>>w.oas != 0 {
			return 0, 0, 0, "address size"
		}
		size, why = low, "leaf"
		if field(d, 52, 52) == 1 {
			// Runs of 16 entries with 4K; 128 pages or 32 blocks with 16K; 32 with 64K.
			run := map[[2]int]int{{12, 3}: 4, {12, 2}: 4, {12, 1}: 4, {14, 3}: 7, {14, 2}: 5, {16, 3}: 5, {16, 2}: 5}[[2]int{w.g, level}]
			if size += run; run != 0 {
				why = "contiguous"
			}
		}
		pa = out | va&(1<<low-1)
		if field(d, 10, 10) == 0 && !w.ha {
			return pa, size, 0, "access flag"
		}
		if w.stage2 {
			perm = Perm(field(d, 7, 6))
			if w.hd && field(d, 51, 51) == 1 {
				perm |= Write
			}
			if field(d, 54, 54) == 0 {
				perm |= Exec
			}
			return pa, size, perm, why
		}
		readOnly := field(d, 7, 7) == 1 && !(w.hd && field(d, 51, 51) == 1)
		if w.priv || user && field(d, 6, 6) == 1 {
			perm = Read
			if write && !readOnly {
				perm |= Write
			}
		}
		if !w.priv && fetch && field(d, 54, 54) == 0 {
			perm |= Exec
		}
		return pa, size, perm, why
	}
}

// TestLPAE_AgainstAHandWrittenWalk fills tables of all granules and both stages with random bits and
// compares every look-up.
func TestLPAE_AgainstAHandWrittenWalk(t *testing.T) {
	a := newArena(2)
	r := rand.New(rand.NewPCG(23, 42))
	met := map[string]int{}
	var rights [8]int
	for round := range 210 {
		a.reset()
		w := armWalk{g: 12 + 2*(round%3), ha: r.IntN(2) == 0, stage2: r.IntN(2) == 0}
		w.hd = w.ha && r.IntN(2) == 0
		wide := r.IntN(2) == 0
		w.ds, w.oas52 = wide && w.g != 16, wide && w.g == 16
		most := 48
		if wide {
			most = 52
		}
		w.oas = 44 + r.IntN(most-43)
		in := w.g + w.g - 3 + r.IntN(most-w.g-(w.g-3)+1)
		w.txsz = 64 - in
		// The lowest start level whose table can hold the index, with up to 16 tables at stage 2.
		w.start = 3 - (in-1-w.g)/(w.g-3)
		if more := (in-1-w.g)%(w.g-3) + 1; w.stage2 && more <= 4 && w.start < 3 {
			w.start++
		}
		if w.stage2 && w.g == 14 && w.start == 0 && !wide {
			continue
		}
		cfg := Config{Levels: uint8(4 - w.start), VABits: uint8(in)}
		var f Format
		if w.stage2 {
			f = LPAES2{Granule: uint8(w.g), OAS: uint8(w.oas), LPA: wide, HA: w.ha, HD: w.hd, FWB: r.IntN(2) == 0, Exec: true}
		} else {
			w.had, w.upper, w.priv = r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(4) == 0
			w.tbi = r.IntN(2) == 0
			cfg.Upper, cfg.TBI = w.upper, w.tbi
			f = LPAES1{Granule: uint8(w.g), OAS: uint8(w.oas), LPA: wide, HA: w.ha, HD: w.hd, HAD: w.had, Privileged: w.priv, Exec: true}
		}
		tab, err := New(f, a, a, cfg)
		require.NoError(t, err, "%v %d bits from level %d", f, in, w.start)
		w.root = uint64(tab.root)
		pages := []emu.PA{tab.root}
		for range 3 {
			pa, err := a.Alloc(uint8(w.g))
			require.NoError(t, err)
			pages = append(pages, pa)
		}
		fillRandomArm(r, a, &w, pages)
		for range 400 {
			va := r.Uint64() & (1<<in - 1)
			if w.upper {
				va |= ^uint64(0) << in
			}
			if r.IntN(16) == 0 {
				va ^= 1 << r.IntN(64)
			}
			pa, size, perm, why := w.walk(a, va)
			if size > in {
				pa, size, perm, why = 0, 0, 0, "run larger than the table"
			}
			met[why]++
			got, found := tab.Lookup(emu.IOVA(va))
			require.Equal(t, size != 0, found, "%v %#x: %s", f, va, why)
			want := Translation{PA: emu.PA(pa), Lg2: uint8(size), Perm: perm, Attr: got.Attr}
			require.Equal(t, want, got, "%v %#x: %s", f, va, why)
			if found {
				rights[perm]++
			}
		}
	}
	for _, why := range []string{"range", "invalid", "address size", "reserved", "block", "leaf", "contiguous", "access flag", "run larger than the table"} {
		require.Greater(t, met[why], 400, "%s: every outcome is met; %v", why, met)
	}
	for p, n := range rights {
		require.Greater(t, n, 200, "%s", Perm(p))
	}
}

// fillRandomArm fills the tables with links to pages and leaves, often flawless.
func fillRandomArm(r *rand.Rand, a *arena, w *armWalk, pages []emu.PA) {
	for _, p := range pages {
		for i := range emu.PA(1) << (a.live[p] - 3) {
			e := r.Uint64() & 0xffff_0000_0000_0fff
			if r.IntN(8) != 0 {
				e |= 1 << 10 // AF
			}
			if r.IntN(16) != 0 {
				e |= 1
			}
			if r.IntN(8) != 0 {
				e &^= 3<<8 | 3<<48
			}
			if r.IntN(2) == 0 {
				e = e&^(0xf<<59) | 2 | uint64(pages[1+r.IntN(len(pages)-1)]) // a link, or a page
			} else {
				e |= r.Uint64() & 0x0000_0fff_ffff_f000
				e &^= 2 & (r.Uint64() | r.Uint64())
				if w.g == 16 {
					e &^= 0xf000 & (r.Uint64() & r.Uint64())
				}
			}
			if r.IntN(16) == 0 {
				e |= 1 << (44 + r.IntN(4))
			}
			if r.IntN(8) == 0 {
				e |= 1 << (59 + r.IntN(4))
			}
			// A link must stay within the memory, whatever was changed.
			if to := emu.PA(w.address(e, w.g)); e&3 == 3 && to>>w.oas == 0 && a.live[to] != uint8(w.g) {
				e = e&^(0x0003_ffff_ffff_f000|3<<8) | uint64(pages[1])
			}
			a.Store64(p+i*8, e)
		}
	}
}
