package pagetable

import "github.com/iommulab/iommulab/emu"

// Memory is how table software reaches table pages: on the host, the CPU. Addresses are multiples
// of 8 and every access is single-copy atomic. The dynamic type should be comparable (a pointer), so
// that Compare can tell that two tables live in the same memory.
type Memory interface {
	// Load64 reads one entry.
	Load64(pa emu.PA) uint64
	// Store64 writes one entry.
	Store64(pa emu.PA, v uint64)
	// CAS64 writes new if the entry holds old, and tells whether it did. What was stored before it is
	// visible before it: tables are linked by it.
	CAS64(pa emu.PA, old, new uint64) (swapped bool)
	// Flush cleans the cache lines of n bytes for a walker that does not snoop the caches, and
	// does nothing where walkers do. It is called before a stored entry may be relied upon.
	Flush(pa emu.PA, n int)
}

// Pages hands out table pages of 2^lg2 bytes, aligned to their size.
type Pages interface {
	// Alloc returns a zeroed page.
	Alloc(lg2 uint8) (emu.PA, error)
	// Free takes back a page that no walker can reach any more.
	Free(pa emu.PA, lg2 uint8)
}
