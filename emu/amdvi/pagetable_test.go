package amdvi_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/pagetable"
)

// hostNoise and guestNoise make entries: mostly good, with anything wrong now and then.
func hostNoise(rng *rand.Rand, mode uint8) uint64 {
	next := rng.Uint64N(uint64(mode) + 1)
	if next == uint64(mode) {
		next = spec.NextLevelSize
	}
	e := rng.Uint64N(1<<22)<<30 | pRW | next<<9
	if e>>9&7 == 7 {
		e = e&^spec.PteAddr.Mask() | spec.PageSizeAddr(rng.Uint64N(1<<12)<<39, uint8(13+rng.IntN(28)))
	}
	return e ^ emutest.Flip(rng, pr, ir, iw, 1<<52, 1<<58, 1<<59, 1<<60, 1<<9, 1<<12, 1<<5, 1<<1, 1<<63)
}

func guestNoise(rng *rand.Rand) uint64 {
	e := rng.Uint64()&(0xf78|1<<12) | rng.Uint64N(1<<20)<<30 | gAll
	if rng.IntN(3) > 0 {
		e &^= gPS
	}
	return e ^ emutest.Flip(rng, gP, gRW, gUS, gNX, 1<<12, 1<<20, 1<<51, 1<<58)
}

// Over entries of noise the unit and package pagetable must find the same.
func TestWalksAgreeWithPackagePagetable(t *testing.T) {
	const p = emu.PASID(5)
	tables := func(r *rig, n int) (list []emu.PA) {
		for range n {
			list = append(list, r.Page())
		}
		return list
	}
	host := func(mode uint8, fields ...field) func(*rig, *rand.Rand) emutest.Find {
		return func(r *rig, rng *rand.Rand) emutest.Find {
			list := tables(r, 12)
			r.Noise(rng, list, list, spec.PteAddr.Mask(), func() uint64 { return hostNoise(rng, mode) })
			r.bind(dev, append(fields, field{spec.DteMode, uint64(mode)}, field{spec.DteHostRoot, uint64(list[0]) >> 12})...)
			return emutest.FindIn(r.Open(pagetable.AMDv1{}, list[0], mode, false))
		}
	}
	guest := func(levels int, pasid uint64, f pagetable.X86, fields ...field) func(*rig, *rand.Rand) emutest.Find {
		return func(r *rig, rng *rand.Rand) emutest.Find {
			list := tables(r, 12)
			r.Noise(rng, list, list, spec.GptAddr.Mask(), func() uint64 { return guestNoise(rng) })
			g := r.guests(levels, 0, 0, fields...)
			r.Put(g.slot(pasid), uint64(list[0])|1)
			return emutest.FindIn(r.Open(f, list[0], uint8(levels), !f.Unsigned))
		}
	}
	x86 := pagetable.X86{NXE: true}
	for _, c := range []struct {
		name   string
		make   func(*rig, *rand.Rand) emutest.Find
		pasid  emu.PASID
		extra  emu.Access
		exec   bool
		bits   int
		signed bool
		sized  bool // pages of many slots
	}{
		{"mode 1", host(1), emu.NoPASID, 0, false, 21, false, true},
		{"mode 3", host(3), emu.NoPASID, 0, false, 39, false, true},
		{"mode 4, flags", host(4, had(spec.HADAD)), emu.NoPASID, 0, false, 48, false, true},
		{"mode 6", host(6), emu.NoPASID, 0, false, 64, false, true},
		{"guest, 4 levels", guest(4, 5, x86), p, 0, true, 48, true, false},
		{"guest, 5 levels", guest(5, 5, x86), p, 0, true, 57, true, false},
		{"guest, supervisor", guest(4, 5, pagetable.X86{NXE: true, Supervisor: true}), p, emu.Priv, true, 48, true, false},
		{"guest without PASID", guest(4, 0, pagetable.X86{NXE: true, Unsigned: true}, giov), emu.NoPASID, 0, false, 48, false, false},
		{"nested", func(r *rig, rng *rand.Rand) emutest.Find {
			g := r.guests(4, 0, 3, had([]uint64{0, spec.HADA, spec.HADAD}[rng.IntN(3)]))
			var names, at []emu.PA
			for range 12 {
				gpa := g.gpage()
				names, at = append(names, emu.PA(gpa)), append(at, g.spa(gpa))
			}
			r.Noise(rng, at, names, spec.GptAddr.Mask(), func() uint64 { return guestNoise(rng)&^spec.GptAddr.Mask() | (1+rng.Uint64N(16))<<32 })
			for i := uint64(1); i <= 16; i++ { // outputs: 4 GiB apart, of large pages of all sizes, some of them bad
				lg2 := uint8(31 + rng.IntN(2))
				e := spec.PageSizeAddr(rng.Uint64N(1<<8)<<40, lg2) | pRW | 7<<9
				for j := range uint64(4) {
					r.Put(r.pte(g.host, 3, i<<32|j<<30, 3), e^emutest.Flip(rng, ir, iw, 1<<52))
				}
			}
			r.Put(g.slot(5), uint64(names[0])|1)
			below := r.Open(pagetable.AMDv1{}, g.host, 3, false)
			return emutest.FindOver(r.OpenOver(below, x86, names[0], 4, true), below, emu.Exec)
		}, p, 0, true, 48, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			good := 0
			for seed := range uint64(6) {
				rng := rand.New(rand.NewPCG(seed, 7))
				r := fullRig(t, func(cfg *amdvi.Config) {
					cfg.HtRangeIgnore = true
					if seed&1 != 0 || c.sized { // not all slots of a page agree
						noCaches(cfg)
					}
				})
				a := emutest.Agreement{
					Find: c.make(r, rng), Extra: c.extra, Exec: c.exec, Bits: c.bits, Signed: c.signed,
					Request: func(addr uint64, a emu.Access) emu.Result { return r.Do(emutest.DMA(dev, c.pasid, addr, a)) },
				}
				good += a.Require(r.Rig, rng, 3000)
			}
			require.Greater(t, good, 300)
		})
	}
}
