package smmuv3_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// Package pagetable reads and writes the same formats for software. Over descriptors of noise both must
// find the same translations with the same rights, or none.

// noiseTables fills n tables of a granule, in a row, with descriptors of which many point to one another.
func noiseTables(r *rig, rng *rand.Rand, g spec.Granule, n int, entry func() uint64) (root emu.PA) {
	return noiseTablesAt(r, rng, g, n, 0, entry)
}

// noiseTablesAt is noiseTables for tables whose addresses are larger by off for those that point to them.
func noiseTablesAt(r *rig, rng *rand.Rand, g spec.Granule, n int, off emu.PA, entry func() uint64) (root emu.PA) {
	var tables []emu.PA
	root = r.aligned(uint64(n) << g)
	for i := range n {
		tables = append(tables, root+emu.PA(i)<<g)
	}
	for _, at := range tables {
		for i := range emu.PA(1) << (g - 3) {
			if i > 512 && rng.IntN(8) > 0 {
				continue // large tables stay sparse
			}
			e := entry()
			if rng.IntN(4) > 0 {
				e = e&^(spec.TtdAddr.Mask()|3<<8) | uint64(tables[rng.IntN(n)]+off)
				if rng.IntN(3) > 0 {
					e |= table
				}
			}
			r.Put(at+8*i, e)
		}
	}
	return root
}

// flip returns each of bits now and then.
func flip(rng *rand.Rand, bits ...uint64) (v uint64) {
	for _, b := range bits {
		if rng.IntN(48) == 0 {
			v |= b
		}
	}
	return v
}

// noise1 and noise2 make descriptors: mostly good, with anything wrong now and then.
func noise1(rng *rand.Rand) uint64 {
	e := page | user | rng.Uint64N(1<<18)<<30 | rng.Uint64N(8)<<2 | rng.Uint64N(2)<<11 | rng.Uint64N(2)<<51
	if rng.IntN(3) == 0 {
		e &^= 2
	}
	return e ^ flip(rng, 1, user, ro, af, uxn, pxn, 1<<61, 1<<62, 1<<60, 1<<47, 1<<12, 1<<8, 1<<16)
}

func noise2(rng *rand.Rand) uint64 {
	e := s2RW | rng.Uint64N(1<<18)<<30 | rng.Uint64N(16)<<2 | rng.Uint64N(2)<<51
	if rng.IntN(3) == 0 {
		e &^= 2
	}
	return e ^ flip(rng, 1, 1<<6, 1<<7, af, uxn, 1<<47, 1<<12, 1<<8, 1<<16)
}

// walkCase is a configuration and the format that says the same.
type walkCase struct {
	name   string
	bits   uint8
	upper  bool
	extra  emu.Access // what accesses ask for besides
	exec   bool
	change change
	make   func(r *rig, rng *rand.Rand) emutest.Find
}

func findIn(r *rig, f pagetable.Format, root emu.PA, c pagetable.Config) emutest.Find {
	tab, err := pagetable.Open(f, r.F, nil, root, c)
	require.NoError(r.T, err)
	return emutest.FindIn(tab)
}

// noiseNested gives dev noise of both stages. Stage 2 maps the tables of stage 1 well; their leaves point
// anywhere in sixteen regions that it maps in all sizes, or does not.
func noiseNested(r *rig, rng *rand.Rand) emutest.Find {
	const off, regions = emu.PA(1) << 41, 16
	root := noiseTablesAt(r, rng, spec.Granule4K, 8, off, func() uint64 {
		return noise1(rng)&^spec.TtdAddr.Mask() | (1+rng.Uint64N(regions))<<30
	})
	ha, hd, ha2, hd2 := rng.Uint64N(2), rng.Uint64N(2), rng.Uint64N(2), rng.Uint64N(2)
	cd, _ := r.attach(dev, field{spec.CdTTB0, uint64(root+off) >> 4}, field{spec.CdIPS, 4}, field{spec.CdHA, ha}, field{spec.CdHD, hd})
	top := r.Page()
	r.set(r.ste(dev), append(s2Fields(top), field{spec.SteConfig, spec.ConfigNested}, field{spec.SteS2PS, 4}, field{spec.SteS2HA, ha2}, field{spec.SteS2HD, hd2})...)
	r.mapPage(top, uint64(cd), uint64(cd), s2RW)
	for i := range emu.PA(8) {
		at := root + i<<spec.Granule4K
		r.mapPage(top, uint64(at+off), uint64(at), s2RW)
	}
	below := noiseTables(r, rng, spec.Granule4K, 4, func() uint64 { return noise2(rng) })
	for i := uint64(1); i <= regions; i++ {
		e := noise2(rng) &^ 2
		if rng.IntN(2) == 0 {
			e = uint64(below+emu.PA(rng.Uint64N(4))<<spec.Granule4K) | table
		}
		r.Put(r.descriptor(spec.Granule4K, top, 3, i<<30, 2), e)
	}
	s2 := r.Open(pagetable.LPAES2{OAS: 44, HA: ha2 != 0, HD: hd2 != 0, Exec: true}, top, 4, false)
	s1 := r.OpenOver(s2, pagetable.LPAES1{OAS: 44, HA: ha != 0, HD: hd != 0, Exec: true}, root+off, 4, false)
	return emutest.FindOver(s1, s2, 0)
}

// wider puts noise into the bits of a descriptor that hold an address only where it has 52 bits.
func wider(rng *rand.Rand, g spec.Granule, e uint64) uint64 {
	if rng.IntN(2) == 0 {
		return e
	}
	if g == spec.Granule64K {
		return e&^(15<<12) | rng.Uint64N(16)<<12
	}
	return e&^(3<<8|3<<48) | rng.Uint64N(4)<<8 | rng.Uint64N(4)<<48
}

// wideCases are the walks of a granule with 52 bits on both sides.
func wideCases(g spec.Granule, tg uint64, wide change) []walkCase {
	levels := (51-uint8(g))/g.Stride() + 1
	first := walkCase{
		name: fmt.Sprintf("stage 1, %dK, 52 bits", 1<<(g-10)), bits: 52, change: wide,
		make: func(r *rig, rng *rand.Rand) emutest.Find {
			root := noiseTables(r, rng, g, 8, func() uint64 { return wider(rng, g, noise1(rng)) })
			oas := 4 + rng.Uint64N(3) // 44, 48, 52 bits
			ha, hd := rng.Uint64N(2), rng.Uint64N(2)
			r.attach(dev, field{spec.CdTTB0, uint64(root) >> 4}, field{spec.CdTG0, tg}, field{spec.CdT0SZ, 12}, field{spec.CdIPS, oas}, field{spec.CdDS, 1},
				field{spec.CdHA, ha}, field{spec.CdHD, hd})
			f := pagetable.LPAES1{Granule: uint8(g), OAS: spec.OASBits(oas), LPA: true, HA: ha != 0, HD: hd != 0}
			return findIn(r, f, root, pagetable.Config{Levels: levels, VABits: 52})
		},
	}
	// Stage 2 starts as low as 16 tables side by side allow, or one level above.
	low := levels
	if 52-(uint8(g)+(levels-1)*g.Stride()) <= spec.MaxConcatenated {
		low--
	}
	var list []walkCase
	for n := low; n <= levels; n++ {
		list = append(list, walkCase{
			name: fmt.Sprintf("stage 2, %dK, 52 bits, %d levels", 1<<(g-10), n), exec: true, bits: 52, change: wide,
			make: func(r *rig, rng *rand.Rand) emutest.Find {
				root := noiseTables(r, rng, g, 16, func() uint64 { return wider(rng, g, noise2(rng)) })
				sl0, ok := spec.S2SL0(g, int8(n)-1)
				require.True(r.T, ok)
				oas := 4 + rng.Uint64N(3)
				ha, hd := rng.Uint64N(2), rng.Uint64N(2)
				r.attach2(dev, field{spec.SteS2TTB, uint64(root) >> 4}, field{spec.SteS2TG, tg}, field{spec.SteS2T0SZ, 12}, field{spec.SteS2SL0, sl0 & 3},
					field{spec.SteS2SL02, sl0 >> 2}, field{spec.SteS2DS, 1}, field{spec.SteS2PS, oas}, field{spec.SteS2HA, ha}, field{spec.SteS2HD, hd})
				f := pagetable.LPAES2{Granule: uint8(g), OAS: spec.OASBits(oas), LPA: true, HA: ha != 0, HD: hd != 0, Exec: true}
				return findIn(r, f, root, pagetable.Config{Levels: n, VABits: 52})
			},
		})
	}
	return append(list, first)
}

func walkCases() (list []walkCase) {
	wide := func(c *smmuv3.Config) { c.OAS, c.VAX, c.DS = spec.OAS52, spec.VAX52, true }
	for _, g := range granuleCases {
		from := uint8((47 - uint8(g.g)) / g.g.Stride())
		for _, upper := range []bool{false, true} {
			for _, isPriv := range []emu.Access{0, emu.Priv} {
				list = append(list, walkCase{
					name: fmt.Sprintf("stage 1, %dK, upper %v, priv %v", 1<<(g.g-10), upper, isPriv != 0), bits: 48, upper: upper, extra: isPriv, exec: isPriv == 0,
					make: func(r *rig, rng *rand.Rand) emutest.Find {
						root := noiseTables(r, rng, g.g, 8, func() uint64 { return noise1(rng) })
						ha, hd, had := rng.Uint64N(2), rng.Uint64N(2), rng.Uint64N(2)
						r.attach(dev, field{spec.CdTTB0, uint64(root) >> 4}, field{spec.CdTG0, g.tg0}, field{spec.CdTTB1, uint64(root) >> 4}, field{spec.CdTG1, g.tg1},
							field{spec.CdT1SZ, 16}, field{spec.CdEPD1, 0}, field{spec.CdIPS, 4}, field{spec.CdHA, ha}, field{spec.CdHD, hd}, field{spec.CdHAD0, had}, field{spec.CdHAD1, had})
						f := pagetable.LPAES1{Granule: uint8(g.g), OAS: 44, HA: ha != 0, HD: hd != 0, HAD: had != 0, Exec: true, Privileged: isPriv != 0}
						return findIn(r, f, root, pagetable.Config{Levels: from + 1, Upper: upper, VABits: 48})
					},
				})
			}
		}
		list = append(list, wideCases(g.g, g.tg0, wide)...)
		levels, bits := uint8(3), uint8(42) // eight tables side by side
		switch g.g {
		case spec.Granule16K:
			bits = 48 // two
		case spec.Granule64K:
			levels, bits = 2, 45
		}
		list = append(list, walkCase{
			name: fmt.Sprintf("stage 2, %dK, tables side by side", 1<<(g.g-10)), exec: true, bits: bits,
			make: func(r *rig, rng *rand.Rand) emutest.Find {
				root := noiseTables(r, rng, g.g, 8, func() uint64 { return noise2(rng) })
				sl0, ok := spec.S2SL0(g.g, int8(levels)-1)
				require.True(r.T, ok)
				ha, hd := rng.Uint64N(2), rng.Uint64N(2)
				r.attach2(dev, field{spec.SteS2TTB, uint64(root) >> 4}, field{spec.SteS2TG, g.tg0}, field{spec.SteS2T0SZ, uint64(64 - bits)}, field{spec.SteS2SL0, sl0},
					field{spec.SteS2PS, 4}, field{spec.SteS2HA, ha}, field{spec.SteS2HD, hd})
				f := pagetable.LPAES2{Granule: uint8(g.g), OAS: 44, HA: ha != 0, HD: hd != 0, Exec: true}
				return findIn(r, f, root, pagetable.Config{Levels: levels, VABits: bits})
			},
		})
	}
	return append(list, walkCase{name: "both stages, 4K", bits: 48, exec: true, make: noiseNested})
}

func TestWalksAgreeWithPackagePagetable(t *testing.T) {
	for _, c := range walkCases() {
		t.Run(c.name, func(t *testing.T) {
			good := 0
			for seed := range uint64(4) {
				rng := rand.New(rand.NewPCG(seed, 7))
				more := []change{func(f *smmuv3.Config) { f.XNX = false }}
				if c.change != nil {
					more = append(more, c.change)
				}
				if seed&1 != 0 {
					more = append(more, noCaches)
				}
				r := newRig(t, more...).enable()
				find := c.make(r, rng)
				for range 1500 {
					va := rng.Uint64() &^ 0xfff
					if rng.IntN(8) > 0 { // within the tables
						va &= 1<<c.bits - 1
						for l := 12; l < 52; l += 3 { // dense
							if rng.IntN(3) == 0 {
								va &^= 7 << l
							}
						}
						if c.upper {
							va |= ^uint64(0) << c.bits
						}
					}
					access := []emu.Access{emu.Read, emu.Write, emu.RW | emu.Atomic}[rng.IntN(3)]
					need := access &^ emu.Atomic
					if c.exec && rng.IntN(3) == 0 {
						access, need = emu.Read|emu.Exec, emu.Exec
					}
					pa, lg2, perm, ok := find(va)
					if ok && c.upper != (va>>55&1 != 0) {
						continue
					}
					res := r.Do(emutest.DMA(dev, emu.NoPASID, va, access|c.extra))
					if c.upper != (va>>55&1 != 0) {
						continue // the other half
					}
					allowed := ok && need&^perm == 0
					require.Equal(t, allowed, res.Status == emu.OK, "%#x: %v, fault %#x; %+v", va, access, res.Fault.Code, perm)
					if !allowed {
						continue
					}
					good++
					require.Equal(t, pa, res.PA, "%#x", va)
					require.Equal(t, lg2, res.Lg2)
					require.Equal(t, perm&(emu.RW|access&emu.Exec), res.Perm)
				}
			}
			require.Greater(t, good, 100)
		})
	}
}
