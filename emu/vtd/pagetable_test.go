package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// Package pagetable reads and writes the same formats for software. Over entries of noise both must find
// the same translations with the same rights, or none.

// noise fills tables with entries of which many point to one another.
func noise(r *rig, rng *rand.Rand, tables []emu.PA, entry func() uint64) {
	for _, table := range tables {
		for i := range emu.PA(512) {
			e := entry()
			if rng.IntN(4) > 0 {
				e = e&^spec.FSADDR.Mask() | uint64(tables[rng.IntN(len(tables))])
			}
			r.Put(table+8*i, e)
		}
	}
}

// fsNoise and ssNoise make entries: mostly good, with anything wrong now and then.
func fsNoise(rng *rand.Rand) uint64 {
	e := rng.Uint64()&(0xf78|1<<12) | rng.Uint64N(1<<20)<<30 | fsP | fsU | fsW
	if rng.IntN(3) > 0 {
		e &^= fsPS
	}
	return e ^ flip(rng, fsP, fsW, fsU, fsXD, 1<<12, 1<<20, 1<<51)
}

func ssNoise(rng *rand.Rand) uint64 {
	e := rng.Uint64()&0x77c | rng.Uint64N(1<<20)<<30 | ssRW
	if rng.IntN(3) > 0 {
		e &^= 1 << 7
	} else {
		e |= 1 << 7
	}
	return e ^ flip(rng, ssR, ssW, ssX, 1<<11, 1<<62, 1<<20, 1<<51)
}

func flip(rng *rand.Rand, bits ...uint64) (v uint64) {
	for _, b := range bits {
		if rng.IntN(64) == 0 {
			v |= b
		}
	}
	return v
}

// guestMemory is memory by guest-physical addresses.
type guestMemory struct {
	pagetable.Memory
	second *pagetable.Table
}

func (m guestMemory) Load64(gpa emu.PA) uint64 {
	t, ok := m.second.Lookup(emu.IOVA(gpa))
	if !ok {
		return 0
	}
	return m.Memory.Load64(t.PA)
}

func TestWalksAgreeWithPackagePagetable(t *testing.T) {
	const p = emu.PASID(5)
	type translate func(va uint64) (pa emu.PA, lg2 uint8, perm emu.Access, ok bool)
	single := func(tab *pagetable.Table) translate {
		return func(va uint64) (emu.PA, uint8, emu.Access, bool) {
			tr, ok := tab.Lookup(emu.IOVA(va))
			return tr.PA, tr.Lg2, emu.Access(tr.Perm), ok
		}
	}
	open := func(r *rig, m pagetable.Memory, f pagetable.Format, root emu.PA, levels uint8, signed bool) *pagetable.Table {
		tab, err := pagetable.Open(f, m, nil, root, pagetable.Config{Levels: levels, SignExtend: signed})
		require.NoError(t, err)
		return tab
	}
	tables := func(r *rig, n int) (list []emu.PA) {
		for range n {
			list = append(list, r.Page())
		}
		return list
	}
	second := func(levels uint8, sse bool) func(*rig, *rand.Rand) translate {
		return func(r *rig, rng *rand.Rand) translate {
			list := tables(r, 12)
			noise(r, rng, list, func() uint64 { return ssNoise(rng) })
			r.bind(sid, p, spec.PGTTSecond, 7, func(e []uint64) {
				spec.PasidSSPTPTR.Set(e, uint64(list[0])>>12)
				spec.PasidAW.Set(e, uint64(levels-2))
				if sse {
					ones(spec.PasidSSEE, spec.PasidERE)(e)
				}
			})
			return single(open(r, r.F, pagetable.VTDSS{HAW: 48, Exec: sse, Snoop: true}, list[0], levels, false))
		}
	}
	first := func(levels uint8, f pagetable.X86, set ...func([]uint64)) func(*rig, *rand.Rand) translate {
		return func(r *rig, rng *rand.Rand) translate {
			list := tables(r, 12)
			noise(r, rng, list, func() uint64 { return fsNoise(rng) })
			set := append(set, func(e []uint64) {
				spec.PasidFSPTPTR.Set(e, uint64(list[0])>>12)
				spec.PasidFSPM.Set(e, uint64(levels-4))
			})
			r.first(sid, p, 7, set...)
			f.HAW = 48
			return single(open(r, r.F, f, list[0], levels, true))
		}
	}
	for _, c := range []struct {
		name   string
		make   func(*rig, *rand.Rand) translate
		extra  emu.Access // what requests ask for besides
		exec   bool       // and whether they execute now and then
		bits   int
		signed bool
	}{
		{"second stage, 3 levels", second(3, false), 0, false, 39, false},
		{"second stage, 4 levels, SSEE", second(4, true), 0, true, 48, false},
		{"second stage, 5 levels", second(5, false), 0, false, 57, false},
		{"first stage, 4 levels", first(4, pagetable.X86{}), 0, false, 48, true},
		{"first stage, 5 levels, NXE", first(5, pagetable.X86{NXE: true}, ones(spec.PasidNXE, spec.PasidERE)), 0, true, 57, true},
		{"first stage, supervisor", first(4, pagetable.X86{Supervisor: true, NXE: true},
			ones(spec.PasidSRE, spec.PasidWPE, spec.PasidNXE, spec.PasidERE)), emu.Priv, true, 48, true},
		{"nested", func(r *rig, rng *rand.Rand) translate {
			g := r.nest(sid, p, 7, 0, func(e []uint64) { spec.PasidSSADE.Set(e, rng.Uint64N(2)) })
			var list, at []emu.PA
			for range 12 {
				gpa := g.page()
				list, at = append(list, emu.PA(gpa)), append(at, g.at(gpa))
			}
			for _, table := range at {
				for j := range emu.PA(512) {
					e := fsNoise(rng)&^spec.FSADDR.Mask() | rng.Uint64N(16)<<30
					if rng.IntN(4) > 0 {
						e = e&^spec.FSADDR.Mask() | uint64(list[rng.IntN(len(list))])
					}
					r.Put(table+8*j, e)
				}
			}
			for i := range uint64(16) { // outputs: 16 GiB of large pages, some of them bad
				r.Put(r.pte(g.ss, i<<30, 2), rng.Uint64N(1<<10)<<30|(ssRW|1<<7)^flip(rng, ssR, ssW, 1<<62))
			}
			r.Put(r.pasidEntry(sid, p)+16, uint64(list[0]))
			ss := open(r, r.F, pagetable.VTDSS{HAW: 48, Snoop: true}, g.ss, 4, false)
			fs := open(r, guestMemory{r.F, ss}, pagetable.X86{HAW: 48}, list[0], 4, true)
			return func(va uint64) (pa emu.PA, lg2 uint8, perm emu.Access, ok bool) {
				a, ok := fs.Lookup(emu.IOVA(va))
				if !ok {
					return 0, 0, 0, false
				}
				b, ok := ss.Lookup(emu.IOVA(a.PA))
				return b.PA, min(a.Lg2, b.Lg2), emu.Access(a.Perm & b.Perm), ok
			}
		}, 0, false, 48, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := 0
			for seed := range uint64(6) {
				rng := rand.New(rand.NewPCG(seed, 7))
				r := newRig(t, func(cfg *vtd.Config) {
					cfg.SAGAW = uint8(spec.SAGAW39 | spec.SAGAW48 | spec.SAGAW57)
					if seed&1 != 0 {
						noCaches(cfg)
					}
				})
				find := c.make(r, rng)
				r.scalable()
				for range 3000 {
					va := rng.Uint64() &^ 0xfff
					if rng.IntN(8) > 0 { // within the tables; first-stage addresses of either sign
						va = uint64(int64(va) >> (64 - c.bits))
						if !c.signed {
							va &= 1<<c.bits - 1
						}
						va &^= 0xfff
					}
					access := []emu.Access{emu.Read, emu.Write, emu.RW | emu.Atomic}[rng.IntN(3)]
					need := access &^ emu.Atomic
					if c.exec && rng.IntN(3) == 0 {
						access, need = emu.Read|emu.Exec, emu.Read|emu.Exec
					}
					pa, lg2, perm, ok := find(va)
					if ok && pa>>20 == 0xfee {
						continue
					}
					res := r.pasidAccess(p, va, access|c.extra)
					allowed := ok && need&^perm == 0
					require.Equal(t, allowed, res.Status == emu.OK, "%#x: %v, fault %#x; %v", va, access, res.Fault.Code, perm)
					if !allowed {
						continue
					}
					good++
					require.Equal(t, pa, res.PA)
					require.Equal(t, lg2, res.Lg2)
					require.Equal(t, perm, res.Perm&^emu.Priv)
				}
			}
			require.Greater(t, good, 500)
		})
	}
}
