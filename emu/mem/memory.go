package mem

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// WordsPerPage is the number of 8-byte words in a page.
const WordsPerPage = emu.PageSize / 8

// Page is the content of one 4 KiB page as little-endian words, lowest address first.
type Page [WordsPerPage]uint64

// DefaultLimit is the number of bytes a Memory spans unless SetLimit says otherwise: the 52-bit
// physical address space that all modelled architectures can express.
const DefaultLimit = 1 << 52

// The page directory: pages are grouped into regions; low regions are found by index, those
// above directRegions by map.
const (
	regionShift   = 10 // log2 pages of a region: 4 MiB
	regionPages   = 1 << regionShift
	directRegions = 1 << 18 // 1 TiB
)

type region [regionPages]*Page

// The look-aside of page addresses: direct mapped, one for loads and one for stores. A page is in
// it only if the access needs no further check.
const lookSlots = 256

type lookEntry struct {
	tag  emu.PA // address of the page; its three low bits are 0, so a misaligned access never matches
	page *Page
}

// noTag matches no access: its low bits are set.
const noTag = ^emu.PA(0)

// tagMask keeps the page address and the alignment within a word.
const tagMask = ^emu.PA(emu.PageSize - 8)

// zeroPage is what unwritten memory reads as. It is never written.
var zeroPage Page

// Memory is guest-physical memory. It implements emu.Memory.
type Memory struct {
	loads  [lookSlots]lookEntry
	stores [lookSlots]lookEntry

	direct []*region          // by region number, grown on demand
	high   map[uint64]*region // region numbers >= directRegions
	pages  int

	limit  emu.PA // first address beyond
	errors []busError
	lastID ErrorID
	watch  []*watcher
}

var _ emu.Memory = (*Memory)(nil)

// New returns empty memory of DefaultLimit bytes.
func New() *Memory {
	m := &Memory{limit: DefaultLimit}
	m.forget()
	return m
}

// SetLimit makes every access at or above limit a bus error. limit is a multiple of the page size.
// Pages above stay, out of reach.
func (m *Memory) SetLimit(limit emu.PA) {
	m.limit = limit &^ (emu.PageSize - 1)
	m.forget()
}

// Limit returns the first address that is a bus error because nothing can lie there.
func (m *Memory) Limit() emu.PA { return m.limit }

// Allocated returns the number of pages that take room: those that were written.
func (m *Memory) Allocated() int { return m.pages }

// forget empties the look-aside. It is called whenever what an access must check changes.
func (m *Memory) forget() {
	for i := range m.loads {
		m.loads[i] = lookEntry{tag: noTag}
		m.stores[i] = lookEntry{tag: noTag}
	}
}

// find returns the page that pa lies in, or nil if it was never written.
func (m *Memory) find(pa emu.PA) *Page {
	n := uint64(pa) >> emu.PageShift
	var r *region
	if i := n >> regionShift; i < uint64(len(m.direct)) {
		r = m.direct[i]
	} else if i >= directRegions {
		r = m.high[i]
	}
	if r == nil {
		return nil
	}
	return r[n%regionPages]
}

// ensure returns the page that pa lies in and allocates it if needed.
func (m *Memory) ensure(pa emu.PA) *Page {
	n := uint64(pa) >> emu.PageShift
	i := n >> regionShift
	var r *region
	switch {
	case i >= directRegions:
		if r = m.high[i]; r == nil {
			r = new(region)
			if m.high == nil {
				m.high = make(map[uint64]*region)
			}
			m.high[i] = r
		}
	default:
		if i >= uint64(len(m.direct)) {
			m.direct = append(m.direct, make([]*region, i+1-uint64(len(m.direct)))...)
		}
		if r = m.direct[i]; r == nil {
			r = new(region)
			m.direct[i] = r
		}
	}
	p := r[n%regionPages]
	if p == nil {
		p = new(Page)
		r[n%regionPages] = p
		m.pages++
		// Loads may have been shown the zero page.
		if e := look(&m.loads, pa); e.tag == pageOf(pa) {
			e.tag = noTag
		}
	}
	return p
}

// highRegions returns the numbers of the regions in the map, in ascending order.
func (m *Memory) highRegions() []uint64 {
	keys := make([]uint64, 0, len(m.high))
	for k := range m.high {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func look(t *[lookSlots]lookEntry, pa emu.PA) *lookEntry {
	return &t[pa>>emu.PageShift%lookSlots]
}

func pageOf(pa emu.PA) emu.PA { return pa &^ (emu.PageSize - 1) }
