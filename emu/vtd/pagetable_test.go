package vtd_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/pagetable"
)

// fsNoise and ssNoise make entries: mostly good, with anything wrong now and then.
func fsNoise(rng *rand.Rand) uint64 {
	e := rng.Uint64()&(0xf78|1<<12) | rng.Uint64N(1<<20)<<30 | fsP | fsU | fsW
	if rng.IntN(3) > 0 {
		e &^= fsPS
	}
	return e ^ emutest.Flip(rng, fsP, fsW, fsU, fsXD, 1<<12, 1<<20, 1<<51)
}

func ssNoise(rng *rand.Rand) uint64 {
	e := rng.Uint64()&0x77c | rng.Uint64N(1<<20)<<30 | ssRW
	if rng.IntN(3) > 0 {
		e &^= 1 << 7
	} else {
		e |= 1 << 7
	}
	return e ^ emutest.Flip(rng, ssR, ssW, ssX, 1<<11, 1<<62, 1<<20, 1<<51)
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
	second := func(levels uint8, sse bool) func(*rig, *rand.Rand) emutest.Find {
		return func(r *rig, rng *rand.Rand) emutest.Find {
			list := tables(r, 12)
			r.Noise(rng, list, list, spec.SSADDR.Mask(), func() uint64 { return ssNoise(rng) })
			r.bind(sid, p, spec.PGTTSecond, 7, func(e []uint64) {
				spec.PasidSSPTPTR.Set(e, uint64(list[0])>>12)
				spec.PasidAW.Set(e, uint64(levels-2))
				if sse {
					ones(spec.PasidSSEE, spec.PasidERE)(e)
				}
			})
			return emutest.FindIn(r.Open(pagetable.VTDSS{HAW: 48, Exec: sse, Snoop: true}, list[0], levels, false))
		}
	}
	first := func(levels uint8, f pagetable.X86, set ...func([]uint64)) func(*rig, *rand.Rand) emutest.Find {
		return func(r *rig, rng *rand.Rand) emutest.Find {
			list := tables(r, 12)
			r.Noise(rng, list, list, spec.FSADDR.Mask(), func() uint64 { return fsNoise(rng) })
			set := append(set, func(e []uint64) {
				spec.PasidFSPTPTR.Set(e, uint64(list[0])>>12)
				spec.PasidFSPM.Set(e, uint64(levels-4))
			})
			r.first(sid, p, 7, set...)
			f.HAW = 48
			return emutest.FindIn(r.Open(f, list[0], levels, true))
		}
	}
	for _, c := range []struct {
		name   string
		make   func(*rig, *rand.Rand) emutest.Find
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
		{"nested", func(r *rig, rng *rand.Rand) emutest.Find {
			g := r.nest(sid, p, 7, 0, func(e []uint64) { spec.PasidSSADE.Set(e, rng.Uint64N(2)) })
			var list, at []emu.PA
			for range 12 {
				gpa := g.page()
				list, at = append(list, emu.PA(gpa)), append(at, g.at(gpa))
			}
			r.Noise(rng, at, list, spec.FSADDR.Mask(), func() uint64 { return fsNoise(rng)&^spec.FSADDR.Mask() | rng.Uint64N(16)<<30 })
			for i := range uint64(16) { // outputs: 16 GiB of large pages, some of them bad
				r.Put(r.pte(g.ss, i<<30, 2), rng.Uint64N(1<<10)<<30|(ssRW|1<<7)^emutest.Flip(rng, ssR, ssW, 1<<62))
			}
			r.Put(r.pasidEntry(sid, p)+16, uint64(list[0]))
			ss := r.Open(pagetable.VTDSS{HAW: 48, Snoop: true}, g.ss, 4, false)
			return emutest.FindOver(r.OpenOver(ss, pagetable.X86{HAW: 48}, list[0], 4, true), ss, 0)
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
				a := emutest.Agreement{
					Find: c.make(r, rng), Extra: c.extra, Exec: c.exec, Bits: c.bits, Signed: c.signed,
					Request: func(va uint64, a emu.Access) emu.Result { return r.pasidAccess(p, va, a) },
				}
				r.scalable()
				good += a.Require(r.Rig, rng, 3000)
			}
			require.Greater(t, good, 500)
		})
	}
}
