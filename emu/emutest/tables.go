package emutest

import (
	"math/rand/v2"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/pagetable"
)

// Package pagetable reads and writes the formats of units for software. Over entries of noise both must
// find the same translations with the same rights, or none.

// Find is what tables say of an address: where it is, log2 of the page's size, and the rights.
type Find func(addr uint64) (pa emu.PA, lg2 uint8, perm emu.Access, ok bool)

// Open returns the tables of a format under a root.
func (r *Rig) Open(f pagetable.Format, root emu.PA, levels uint8, signed bool) *pagetable.Table {
	return r.open(r.F, f, root, levels, signed)
}

func (r *Rig) open(m pagetable.Memory, f pagetable.Format, root emu.PA, levels uint8, signed bool) *pagetable.Table {
	t, err := pagetable.Open(f, m, nil, root, pagetable.Config{Levels: levels, SignExtend: signed})
	require.NoError(r.T, err)
	return t
}

// OpenOver is Open for tables at addresses that tables below translate.
func (r *Rig) OpenOver(below *pagetable.Table, f pagetable.Format, root emu.PA, levels uint8, signed bool) *pagetable.Table {
	return r.open(guestMemory{r.F, below}, f, root, levels, signed)
}

// guestMemory is memory by the input addresses of tables.
type guestMemory struct {
	pagetable.Memory
	below *pagetable.Table
}

func (m guestMemory) Load64(gpa emu.PA) uint64 {
	t, ok := m.below.Lookup(emu.IOVA(gpa))
	if !ok {
		return 0
	}
	return m.Memory.Load64(t.PA)
}

// FindIn is the Find of one table.
func FindIn(t *pagetable.Table) Find {
	return func(addr uint64) (emu.PA, uint8, emu.Access, bool) {
		x, ok := t.Lookup(emu.IOVA(addr))
		return x.PA, x.Lg2, emu.Access(x.Perm), ok
	}
}

// FindOver is the Find of a table whose output another one translates: rights of both count, but for
// those that only the upper one knows.
func FindOver(upper, below *pagetable.Table, only emu.Access) Find {
	return func(addr uint64) (emu.PA, uint8, emu.Access, bool) {
		a, ok := upper.Lookup(emu.IOVA(addr))
		if !ok {
			return 0, 0, 0, false
		}
		b, ok := below.Lookup(emu.IOVA(a.PA))
		return b.PA, min(a.Lg2, b.Lg2), emu.Access(a.Perm) & (emu.Access(b.Perm) | only), ok
	}
}

// Noise fills tables with entries of which many point to one another: at has where the tables are, names
// what entries call them, mask the address bits of an entry.
func (r *Rig) Noise(rng *rand.Rand, at, names []emu.PA, mask uint64, entry func() uint64) {
	for _, table := range at {
		for i := range emu.PA(512) {
			e := entry()
			if rng.IntN(4) > 0 {
				e = e&^mask | uint64(names[rng.IntN(len(names))])
			}
			r.Put(table+8*i, e)
		}
	}
}

// Flip returns bits, each of them set now and then.
func Flip(rng *rand.Rand, bits ...uint64) (v uint64) {
	for _, b := range bits {
		if rng.IntN(64) == 0 {
			v |= b
		}
	}
	return v
}

// Agreement says what requests a unit and tables are compared over.
type Agreement struct {
	Find    Find
	Request func(addr uint64, a emu.Access) emu.Result
	Extra   emu.Access // what requests ask for besides
	Exec    bool       // some of them execute
	Bits    int        // of addresses that tables have
	Signed  bool       // of either sign
}

// Require makes n requests and requires that the unit finds what the tables say. It returns how many were
// allowed.
func (a *Agreement) Require(r *Rig, rng *rand.Rand, n int) (good int) {
	for range n {
		addr := rng.Uint64() &^ 0xfff
		if rng.IntN(8) > 0 { // within the tables
			addr = uint64(int64(addr) >> (64 - a.Bits))
			if !a.Signed && a.Bits < 64 {
				addr &= 1<<a.Bits - 1
			}
			addr &^= 0xfff
		}
		if !a.Signed && rng.IntN(4) == 0 { // where tables skip levels
			addr &= 1<<(12+9*rng.IntN(6)) - 1
		}
		access := []emu.Access{emu.Read, emu.Write, emu.RW | emu.Atomic}[rng.IntN(3)]
		need := access &^ emu.Atomic
		if a.Exec && rng.IntN(3) == 0 {
			access, need = emu.Read|emu.Exec, emu.Read|emu.Exec
		}
		pa, lg2, perm, ok := a.Find(addr)
		if ok && pa>>20 == emu.MSIAddress>>20 || emu.PA(addr)>>20 == emu.MSIAddress>>20 {
			continue
		}
		res := a.Request(addr, access|a.Extra)
		allowed := ok && need&^perm == 0
		require.Equal(r.T, allowed, res.Status == emu.OK, "%#x: %v, fault %#x; %v", addr, access, res.Fault.Code, perm)
		if !allowed {
			continue
		}
		good++
		require.Equal(r.T, pa, res.PA)
		require.Equal(r.T, lg2, res.Lg2)
		require.Equal(r.T, perm, res.Perm&^emu.Priv)
	}
	return good
}
