package lab

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/pagetable"
)

const (
	sid  = emu.SourceID(0x10)
	iova = emu.IOVA(0x4000) // the address that requests are for
	// guestBase is where the pages are that first stages lead to, and pageBase where those are that are
	// different for each second stage below.
	guestBase = 0x3000_0000
	pageBase  = 0x3800_0000
)

// bench is a unit, one entry of it, and memory.
type bench struct {
	*hitless.Recorder
	queue    host.CPU // who gives commands
	unit     emu.Unit
	mem      *mem.Memory
	at       emu.PA        // of the entry
	requests []emu.Request // they may all come at any time
	further  []emu.Request // requests that are tried as well where they do not end as one of requests does
	above    []emu.PA      // pages of what leads to a page table that an entry of is rewritten
	ring     ring
	quiet    func() // turns off what requests write to memory, which is not explored
	next     emu.PA // scratch pages
	made     []emu.PA
	drops    drops
	cost     entry.Cost
	omit     int // command that is left out, counted from 1; 0: none
}

// Requests of benches: where tables map a page, and where they map nothing.
var (
	read  = emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read}
	write = emu.Request{Addr: iova, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Write}
	hole  = emu.Request{Addr: iova + 0x100_0000, Source: sid, PASID: emu.NoPASID, Len: 8, Access: emu.Read}
)

// with is q with a PASID.
func with(q emu.Request, p emu.PASID) emu.Request {
	q.PASID = p
	return q
}

// choose adds those of the further requests that tell something: under one of the contents they end
// otherwise than each request before.
func (b *bench) choose(contents ...[]uint64) error {
	var known [][]hitless.Seen
	for i, q := range append(slices.Clone(b.requests), b.further...) {
		var ends []hitless.Seen
		for _, raw := range contents {
			b.put(b.at, raw...)
			list, err := hitless.Undisturbed(b.unit, b.mem, q)
			if err != nil {
				return err
			}
			s := list[0]
			ends = append(ends, hitless.Seen{Status: s.Status, Code: s.Code, PA: s.PA})
		}
		same := func(o []hitless.Seen) bool { return reflect.DeepEqual(o, ends) }
		if i >= len(b.requests) && !slices.ContainsFunc(known, same) {
			b.requests = append(b.requests, q)
		}
		known = append(known, ends)
	}
	return nil
}

// newBench puts a unit and memory together. Scratch pages are none of those that contents point to.
func newBench(u emu.Unit, taken []emu.PA) *bench {
	b := &bench{unit: u, mem: mem.New(), quiet: func() {}}
	b.Recorder = &hitless.Recorder{Functional: emu.NewFunctional(u, b.mem), Each: true}
	b.queue = b.Functional
	const area = 1 << 26
	for b.next = 1 << 30; ; b.next += area {
		free := true
		for _, pa := range taken {
			free = free && (pa < b.next || pa >= b.next+area)
		}
		if free {
			return b
		}
	}
}

// pointers are the addresses that contents may point to.
func pointers(contents [][]uint64) (list []emu.PA) {
	for _, c := range contents {
		for _, w := range c {
			list = append(list, emu.PA(w&0x000f_ffff_ffff_f000))
		}
	}
	return list
}

// sameValues: two values of a cache mean the same only if they are equal.
func sameValues(*Options) func(emu.CacheID, [4]uint64, [4]uint64) bool { return nil }

// page returns a page of zeros.
func (b *bench) page() emu.PA {
	pa, _ := b.Alloc(emu.PageShift)
	return pa
}

// Alloc implements pagetable.Pages; what was handed out is in made.
func (b *bench) Alloc(lg2 uint8) (emu.PA, error) {
	size := emu.PA(1) << max(lg2, emu.PageShift)
	pa := (b.next + size - 1) &^ (size - 1)
	b.next = pa + size
	b.made = append(b.made, pa)
	return pa, nil
}

// Free implements pagetable.Pages.
func (b *bench) Free(emu.PA, uint8) {}

// rooted hands out one given page first: tables have their root where an entry points.
type rooted struct {
	*bench
	root emu.PA
	done bool
}

// Alloc returns the root, then other pages.
func (r *rooted) Alloc(lg2 uint8) (emu.PA, error) {
	if r.done {
		return r.bench.Alloc(lg2)
	}
	r.done = true
	for pa := r.root; pa < r.root+1<<max(lg2, emu.PageShift); pa += emu.PageSize {
		r.made = append(r.made, pa)
	}
	return r.root, nil
}

// mapping is a page of a table.
type mapping struct {
	at emu.IOVA
	pa emu.PA
}

// table makes a table whose root is at root, and returns its pages. What lies beyond its input addresses is not
// mapped: there the unit faults.
func (b *bench) table(f pagetable.Format, c pagetable.Config, root emu.PA, maps ...mapping) ([]emu.PA, error) {
	first := len(b.made)
	t, err := pagetable.New(f, b.Functional, &rooted{bench: b, root: root}, c)
	if err != nil {
		return nil, fmt.Errorf("table at %#x: %w", uint64(root), err)
	}
	for _, m := range maps {
		if tr, found := t.Lookup(m.at); found && tr.PA == m.pa {
			continue
		}
		if _, err := t.Map(m.at, m.pa, emu.PageSize, pagetable.Read|pagetable.Write, nil); err != nil && !errors.Is(err, pagetable.ErrRange) {
			return nil, fmt.Errorf("table at %#x: %w", uint64(root), err)
		}
	}
	return b.made[first:], nil
}

// same maps the pages of some addresses where they are.
func same(pages []emu.PA) (list []mapping) {
	for _, pa := range pages {
		pa &^= emu.PageSize - 1
		list = append(list, mapping{emu.IOVA(pa), pa})
	}
	return list
}

// put stores words.
func (b *bench) put(pa emu.PA, words ...uint64) {
	for i, v := range words {
		b.Functional.Store64(pa+emu.PA(i*8), v)
	}
}

// ring is a queue of commands.
type ring struct {
	base emu.PA
	size int // bytes of a command
	n    int // commands
	tail int
	wait [2]uint64 // command that waits for those before it
	ring func(cpu host.CPU, tail int)
	done func(cpu host.CPU, tail int) bool // whether the wait is over; nil: status is not 0
	at   func(i int) emu.PA                // where a command lies; nil: index i from base on
	// status is what the wait sets to 1; 0: none.
	status emu.PA
}

// slot is where command i lies.
func (r *ring) slot(i int) emu.PA {
	if r.at != nil {
		return r.at(i)
	}
	return r.base + emu.PA(i*r.size)
}

// over reports whether the last wait is.
func (r *ring) over(cpu host.CPU) bool {
	if r.done != nil {
		return r.done(cpu, r.tail)
	}
	return cpu.Load64(r.status) != 0
}

// patience is how many cycles a wait may take.
const patience = 1 << 20

var errHung = errors.New("the unit does not complete a wait")

// submit gives commands to the unit and waits.
func (b *bench) submit(list []Command) error {
	r := &b.ring
	n := len(list)
	if i := b.omit - b.cost.Invalidations; i > 0 && i <= n {
		list = append(list[:i-1:i-1], list[i:]...)
	}
	if r.status != 0 {
		b.queue.Store64(r.status, 0)
	}
	for _, c := range append(list[:len(list):len(list)], Command{Words: r.wait}) {
		b.Label = c.Text
		for w, v := range c.Words {
			b.queue.Store64(r.slot(r.tail)+emu.PA(w*8), v)
		}
		r.tail = (r.tail + 1) % r.n
		b.queue.Fence()
		r.ring(b.queue, r.tail)
	}
	b.cost.Invalidations += n
	b.cost.Waits++
	if !b.queue.Poll(func() bool { return r.over(b.queue) }, patience) {
		return errHung
	}
	return nil
}

// group gives some commands, if there are any.
func (b *bench) group(how entry.Batching, list []Command) error {
	if how == entry.WaitEach {
		for _, c := range list {
			if err := b.submit([]Command{c}); err != nil {
				return err
			}
		}
	} else if len(list) > 0 {
		return b.submit(list)
	}
	return nil
}

// SyncEntry implements entry.Invalidator.
func (b *bench) SyncEntry(entries [][]uint64) error {
	return b.group(entry.OneWait, b.drops.entry(entries))
}

// SyncAll implements entry.Invalidator. The device has no translations: requests are untranslated.
func (b *bench) SyncAll(entries, made [][]uint64, how entry.Batching) error {
	if err := b.group(how, b.drops.entry(entries)); err != nil {
		return err
	}
	return b.group(how, b.drops.made(made))
}

// Install implements entry.Invalidator.
func (b *bench) Install(new []uint64, how entry.Batching) error {
	return b.group(how, b.drops.install(new))
}

// Cost implements entry.Invalidator.
func (b *bench) Cost() entry.Cost { return b.cost }

// reset empties the caches.
func (b *bench) reset() {
	for c := range emu.NumCaches {
		if cache := b.unit.Cache(c); cache != nil {
			cache.Reset()
		}
	}
}

// add adds a command once.
func add(list []Command, c Command) []Command {
	for _, o := range list {
		if o == c {
			return list
		}
	}
	return append(list, c)
}

// roots numbers distinct pointers in the order in which they were met.
type roots[T any] struct {
	at  []emu.PA
	how []T
}

// add notes how the structure at a pointer looks; the first to name it says.
func (r *roots[T]) add(pa emu.PA, how T) {
	for _, o := range r.at {
		if o == pa {
			return
		}
	}
	r.at, r.how = append(r.at, pa), append(r.how, how)
}

// guestPage is where the i-th first stage leads.
func guestPage(i int) emu.PA { return guestBase + emu.PA(i)*emu.PageSize }

// hostPage is where the j-th second stage puts the address, or that of the i-th first stage.
func hostPage(j int) emu.PA      { return pageBase + emu.PA(j)*0x10_0000 }
func nestedPage(i, j int) emu.PA { return hostPage(j) + emu.PA(i+1)*emu.PageSize }

// secondMaps is what a second stage maps: the address itself, what leads to first stages and their tables where
// they are, and their pages.
func secondMaps(j, firsts int, pages []emu.PA) []mapping {
	list := append([]mapping{{iova, hostPage(j)}}, same(pages)...)
	for i := range firsts {
		list = append(list, mapping{emu.IOVA(guestPage(i)), nestedPage(i, j)})
	}
	return list
}
