package host

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/pagetable"
)

// What an allocation of physical memory can fail with.
var (
	// ErrNoFrames: no free block is large enough.
	ErrNoFrames = errors.New("out of physical pages")
	// ErrFrameInUse: the pages to be claimed are not free, or are not of this allocator.
	ErrFrameInUse = errors.New("physical pages not free")
)

// maxLg2 bounds the size of a block of pages.
const maxLg2 = 40

// Poison is what every word of a freed page holds after SetPoison(true). As a pointer it leads to
// 0xdead_dead_d000, as a paging or context entry it is present with reserved bits set.
const Poison = 0xdead_dead_dead_dead

// Frames hands out the physical pages of one range of memory, in blocks of 2^lg2 bytes aligned to
// their size. The order is a function of the calls alone: of each size, what was freed last is handed
// out first, so that a stale pointer to a freed page is found out soon; then a larger free block is
// split; then comes memory that was never used, in ascending order.
//
// Frames implements [pagetable.Pages].
type Frames struct {
	cpu         CPU
	first, next emu.PA // next: everything from here on was never handed out
	end         emu.PA // behind the last page
	free        [maxLg2 + 1][]emu.PA
	page        []frame // of first..next
	poison      bool
	quarantine  uint64  // pages that wait before they may be handed out again
	waiting     []Block // freed, oldest first
	held        uint64  // pages in waiting
	stats       FrameStats
}

// frame is the state of one page.
type frame struct {
	owner uint32
	lg2   uint8 // of the block that begins here; 0 if none, or if it is free
	used  bool
}

// FrameStats counts pages of 4 KiB.
type FrameStats struct {
	Allocated uint64 // since the beginning
	Freed     uint64
	InUse     uint64
	Peak      uint64 // most in use at any time
}

// Block is memory in use.
type Block struct {
	PA    emu.PA
	Lg2   uint8 // log2 size in bytes
	Owner uint32
}

var _ pagetable.Pages = (*Frames)(nil)

// NewFrames returns an allocator of size bytes from base on. Both are multiples of the page size.
func NewFrames(cpu CPU, base emu.PA, size uint64) (*Frames, error) {
	if (uint64(base)|size)%emu.PageSize != 0 || size == 0 || uint64(base)+size < size {
		return nil, fmt.Errorf("host: frames %#x + %#x: not a range of whole pages", uint64(base), size)
	}
	return &Frames{cpu: cpu, first: base, next: base, end: base + emu.PA(size)}, nil
}

// Alloc returns a zeroed block of 2^lg2 bytes, at least a page. It has owner 0.
//
// Errors: ErrNoFrames.
func (f *Frames) Alloc(lg2 uint8) (emu.PA, error) { return f.AllocFor(lg2, 0) }

// AllocFor is Alloc with an owner.
func (f *Frames) AllocFor(lg2 uint8, owner uint32) (emu.PA, error) {
	lg2 = max(lg2, emu.PageShift)
	pa, ok := f.take(lg2)
	if !ok {
		return 0, fmt.Errorf("host: block of 2^%d bytes: %w", lg2, ErrNoFrames)
	}
	f.mark(pa, lg2, owner)
	f.fill(pa, lg2, 0)
	return pa, nil
}

// Free takes a block back. The block must be one that Alloc or Claim gave, with the same size:
// anything else is an error in this program and panics.
func (f *Frames) Free(pa emu.PA, lg2 uint8) {
	lg2 = max(lg2, emu.PageShift)
	if p := f.at(pa); p == nil || !p.used || p.lg2 != lg2 {
		panic(fmt.Sprintf("host: free of %#x, 2^%d bytes: no such block is in use", uint64(pa), lg2))
	}
	i := f.index(pa)
	clear(f.page[i : i+1<<(lg2-emu.PageShift)])
	n := uint64(1) << (lg2 - emu.PageShift)
	f.stats.Freed += n
	f.stats.InUse -= n
	if f.poison {
		f.fill(pa, lg2, Poison)
	}
	f.waiting = append(f.waiting, Block{PA: pa, Lg2: lg2})
	f.held += n
	for f.held > f.quarantine {
		b := f.waiting[0]
		f.waiting = f.waiting[1:]
		f.held -= 1 << (b.Lg2 - emu.PageShift)
		f.free[b.Lg2] = append(f.free[b.Lg2], b.PA)
	}
}

// Quarantine makes freed memory wait until so many pages have been freed after it. A lab that tells
// translations apart by the tables they come from needs that: a page that is at once another
// domain's table proves nothing. The default is 0.
func (f *Frames) Quarantine(pages uint64) { f.quarantine = pages }

// Claim takes a certain block out of the free memory without touching its content: memory that an
// earlier system has handed over.
//
// Errors: ErrFrameInUse.
func (f *Frames) Claim(pa emu.PA, lg2 uint8, owner uint32) error {
	lg2 = max(lg2, emu.PageShift)
	fail := fmt.Errorf("host: claim of %#x, 2^%d bytes: %w", uint64(pa), lg2, ErrFrameInUse)
	if lg2 > maxLg2 || pa < f.first || pa >= f.end || pa&(1<<lg2-1) != 0 || uint64(f.end-pa) < 1<<lg2 {
		return fail
	}
	if end := pa + 1<<lg2; end > f.next {
		f.release(f.next, end)
	}
	f.coalesce()
	for l := lg2; l <= maxLg2; l++ {
		base := pa &^ (1<<l - 1)
		i := slices.Index(f.free[l], base)
		if i < 0 {
			continue
		}
		f.free[l] = slices.Delete(f.free[l], i, i+1)
		for ; l > lg2; l-- {
			half := emu.PA(1) << (l - 1)
			if pa >= base+half {
				f.free[l-1] = append(f.free[l-1], base)
				base += half
			} else {
				f.free[l-1] = append(f.free[l-1], base+half)
			}
		}
		f.mark(pa, lg2, owner)
		return nil
	}
	return fail
}

// SetOwner says whose the block at pa is. A lab tells by it whose table a page is.
func (f *Frames) SetOwner(pa emu.PA, owner uint32) {
	p := f.at(pa)
	if p == nil || !p.used || p.lg2 == 0 {
		panic(fmt.Sprintf("host: owner of %#x: no block in use begins there", uint64(pa)))
	}
	i := f.index(pa)
	for n := range 1 << (p.lg2 - emu.PageShift) {
		f.page[i+n].owner = owner
	}
}

// Owner returns whose the page at pa is, for any address in it; 0 if it is free or not of this
// allocator.
func (f *Frames) Owner(pa emu.PA) uint32 {
	if p := f.at(pa); p != nil {
		return p.owner
	}
	return 0
}

// BlockAt returns the block in use that begins at pa.
func (f *Frames) BlockAt(pa emu.PA) (Block, bool) {
	p := f.at(pa)
	if p == nil || !p.used || p.lg2 == 0 || pa%emu.PageSize != 0 {
		return Block{}, false
	}
	return Block{pa, p.lg2, p.owner}, true
}

// InUse reports whether the page at pa is in use.
func (f *Frames) InUse(pa emu.PA) bool {
	p := f.at(pa)
	return p != nil && p.used
}

// Blocks yields the memory in use in ascending order: what is there at the end has leaked.
func (f *Frames) Blocks() iter.Seq[Block] {
	return func(yield func(Block) bool) {
		for i := range f.page {
			p := &f.page[i]
			if p.lg2 != 0 && !yield(Block{f.first + emu.PA(i)<<emu.PageShift, p.lg2, p.owner}) {
				return
			}
		}
	}
}

// Stats returns the counters.
func (f *Frames) Stats() FrameStats { return f.stats }

// SetPoison chooses whether freed pages are filled with Poison.
func (f *Frames) SetPoison(on bool) { f.poison = on }

// For returns the same memory as table pages that belong to owner.
func (f *Frames) For(owner uint32) *OwnedFrames {
	return &OwnedFrames{frames: f, owner: owner, blocks: map[emu.PA]uint8{}}
}

// OwnedFrames allocates from a Frames on behalf of one owner and knows what that owner holds.
type OwnedFrames struct {
	frames *Frames
	owner  uint32
	blocks map[emu.PA]uint8 // lg2 size
}

// Alloc returns a zeroed block of 2^lg2 bytes.
//
// Errors: ErrNoFrames.
func (o *OwnedFrames) Alloc(lg2 uint8) (emu.PA, error) {
	pa, err := o.frames.AllocFor(lg2, o.owner)
	if err == nil {
		o.blocks[pa] = lg2
	}
	return pa, err
}

// Free takes a block back.
func (o *OwnedFrames) Free(pa emu.PA, lg2 uint8) {
	delete(o.blocks, pa)
	o.frames.Free(pa, lg2)
}

// FreeAll takes back all that the owner holds, in ascending order, without looking at its content.
func (o *OwnedFrames) FreeAll() {
	for _, pa := range slices.Sorted(maps.Keys(o.blocks)) {
		o.Free(pa, o.blocks[pa])
	}
}
