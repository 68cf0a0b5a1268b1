package host

import (
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// The free side of Frames: lists of blocks by size, joined only when memory runs short.

func (f *Frames) index(pa emu.PA) int { return int((pa - f.first) >> emu.PageShift) }

// at returns the state of the page at pa, or nil if it was never handed out.
func (f *Frames) at(pa emu.PA) *frame {
	if pa < f.first || pa >= f.next {
		return nil
	}
	return &f.page[f.index(pa)]
}

// take removes a free block.
func (f *Frames) take(lg2 uint8) (emu.PA, bool) {
	if lg2 > maxLg2 {
		return 0, false
	}
	if pa, ok := f.pop(lg2); ok {
		return pa, true
	}
	size := emu.PA(1) << lg2
	if pa := (f.next + size - 1) &^ (size - 1); pa >= f.next && pa < f.end && f.end-pa >= size {
		f.release(f.next, pa)
		f.grow(pa + size)
		return pa, true
	}
	f.release(f.next, f.end)
	f.coalesce()
	return f.pop(lg2)
}

// pop takes a block from the lists, splitting a larger one if need be.
func (f *Frames) pop(lg2 uint8) (emu.PA, bool) {
	for l := lg2; l <= maxLg2; l++ {
		n := len(f.free[l])
		if n == 0 {
			continue
		}
		pa := f.free[l][n-1]
		f.free[l] = f.free[l][:n-1]
		for ; l > lg2; l-- {
			f.free[l-1] = append(f.free[l-1], pa+1<<(l-1))
		}
		return pa, true
	}
	return 0, false
}

// grow makes next the end of what was ever handed out.
func (f *Frames) grow(next emu.PA) {
	f.next = next
	if n := f.index(next) - len(f.page); n > 0 {
		f.page = append(f.page, make([]frame, n)...)
	}
}

// release puts first..end-1, never used so far, on the lists in the largest aligned pieces.
func (f *Frames) release(first, end emu.PA) {
	for first < end {
		lg2 := min(bits.TrailingZeros64(uint64(first)), bits.Len64(uint64(end-first))-1, maxLg2)
		f.free[lg2] = append(f.free[lg2], first)
		first += 1 << lg2
	}
	if end > f.next {
		f.grow(end)
	}
}

// coalesce joins free neighbours.
func (f *Frames) coalesce() {
	for l := emu.PageShift; l < maxLg2; l++ {
		list := f.free[l]
		slices.Sort(list)
		kept := list[:0]
		for i := 0; i < len(list); i++ {
			if i+1 < len(list) && list[i]&(1<<(l+1)-1) == 0 && list[i+1] == list[i]+1<<l {
				f.free[l+1] = append(f.free[l+1], list[i])
				i++
				continue
			}
			kept = append(kept, list[i])
		}
		slices.Reverse(kept) // the lowest first
		f.free[l] = kept
	}
}

// mark makes a block, taken from the lists, one in use.
func (f *Frames) mark(pa emu.PA, lg2 uint8, owner uint32) {
	i := f.index(pa)
	n := 1 << (lg2 - emu.PageShift)
	for k := range n {
		f.page[i+k] = frame{owner: owner, used: true}
	}
	f.page[i].lg2 = lg2
	f.stats.Allocated += uint64(n)
	f.stats.InUse += uint64(n)
	f.stats.Peak = max(f.stats.Peak, f.stats.InUse)
}

// fill writes v to each word of a block.
func (f *Frames) fill(pa emu.PA, lg2 uint8, v uint64) {
	if v == 0 {
		f.cpu.Zero(pa, 1<<lg2)
		return
	}
	for end := pa + 1<<lg2; pa < end; pa += 16 {
		f.cpu.Store128(pa, v, v)
	}
}
