package vtd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

const gpa = uint64(0x3333_4000)

func TestNestedTranslation(t *testing.T) {
	for _, cached := range []bool{true, false} {
		r := newRig(t, func(c *vtd.Config) {
			if !cached {
				noCaches(c)
			}
		})
		g := r.nest(sid, 5, 7, 0)
		fs, ss := g.mapTwo(iova, gpa, 0x5000)
		r.scalable()
		for range 2 {
			res := r.pasidAccess(5, iova|0x123, emu.Read)
			r.RequireOK(res, 0x5123)
			require.EqualValues(t, 12, res.Lg2)
			require.Equal(t, emu.RW, res.Perm)
			require.Equal(t, fs, res.Prov.Leaf)
			require.Equal(t, ss, res.Prov.Leaf2)
			require.Equal(t, res.Prov.Entry, res.Prov.Fill)
		}
	}
}

// The page is the smaller one of both stages.
func TestNestedPageSizes(t *testing.T) {
	for _, levels := range []int{4, 5} {
		for fsLevel := range 3 {
			for ssLevel := range 3 {
				t.Run(fmt.Sprintf("%d levels, %d in %d", levels, fsLevel, ssLevel), func(t *testing.T) {
					r := newRig(t)
					g := r.nest(sid, 5, 7, 0, with(spec.PasidFSPM, uint64(levels-4)))
					va, page, frame := uint64(0x40_1234_5678), uint64(0x23_8000_0000), uint64(0x55_4000_0000)
					if levels == 5 {
						va |= 0x55 << 48
					}
					off := func(level int) uint64 { return va & (1<<(12+9*level) - 1) }
					set := func(level int, e uint64) uint64 {
						if level > 0 {
							return e | fsPS
						}
						return e
					}
					r.Put(g.at(g.entry(va, fsLevel)), set(fsLevel, page|fsRWU))
					out := page + off(fsLevel)
					r.Put(r.pte(g.ss, out, ssLevel), set(ssLevel, frame|ssRW))
					want := frame + out&(1<<(12+9*ssLevel)-1)
					r.scalable()
					for range 2 {
						res := r.pasidAccess(5, va, emu.Read)
						r.RequireOK(res, want)
						require.EqualValues(t, 12+9*min(fsLevel, ssLevel), res.Lg2)
					}
					// The neighbour 4 KiB further is in the IOTLB exactly if the page holds both.
					hits := r.u.Cache(emu.CacheIOTLB).Stats().Hits
					r.pasidAccess(5, va+4096, emu.Read)
					require.Equal(t, min(fsLevel, ssLevel) > 0, r.u.Cache(emu.CacheIOTLB).Stats().Hits > hits)
				})
			}
		}
	}
}

// Each stage takes away what it does not grant.
func TestNestedRightsAreThoseOfBothStages(t *testing.T) {
	for fs := range uint64(2) {
		for ss := uint64(1); ss < 4; ss++ {
			r := newRig(t)
			g := r.nest(sid, 5, 7, 0)
			at, _ := g.mapTwo(iova, gpa, 0x5000)
			r.Put(at, gpa|fsP|fsU|fs<<1)
			r.Put(r.pte(g.ss, gpa, 0), 0x5000|ss)
			r.scalable()
			want := emu.Access(ss) & (emu.Read | emu.Access(fs<<1))
			for range 2 {
				for a, code := range map[emu.Access]uint16{emu.Read: vtd.FaultReadSM, emu.Write: vtd.FaultWriteSM} {
					if res := r.pasidAccess(5, iova, a); want&a != 0 {
						r.RequireOK(res, 0x5000)
						require.Equal(t, want, res.Perm)
					} else {
						r.RequireFault(res, code)
					}
				}
			}
		}
	}
}

func TestVTDQuirk51_NestedFaultReasons(t *testing.T) {
	const p = emu.PASID(0x45)
	var g *guest
	// made: everything in place, then a change.
	made := func(change func(r *rig), set ...func([]uint64)) func(*rig) {
		return func(r *rig) {
			g = r.nest(sid, p, 7, 0, append([]func([]uint64){ones(spec.PasidERE, spec.PasidSRE)}, set...)...)
			g.mapTwo(iova, gpa, 0x5000)
			change(r)
		}
	}
	// second: the second-stage entry of a level for what holds the first-stage entry of another level
	// (-1: for the output) is replaced, but for its address.
	second := func(level, of int, bits uint64, set ...func([]uint64)) func(*rig) {
		return made(func(r *rig) {
			at := gpa
			if of >= 0 {
				at = g.entry(iova, of)
			}
			e := r.pte(g.ss, at, level)
			r.Put(e, r.Get(e)&spec.SSADDR.Mask()|bits)
		}, set...)
	}
	ade := with(spec.PasidSSADE, 1)
	// clean: no flag has to be set on the way, so that the walk may be one that does not snoop.
	set := func(r *rig, fs uint64) {
		for level := range 4 {
			at := g.at(g.entry(iova, level))
			r.Put(at, r.Get(at)|fs)
		}
	}
	write, exec := emu.Request{Access: emu.Write}, emu.Request{Access: asExec}
	cases := []faultCase{
		{name: "without NEST", code: 0x5b, setup: made(func(*rig) {}), config: func(c *vtd.Config) { c.NEST = false }},
		{name: "AW not supported", code: 0x5b, setup: made(func(*rig) {}, with(spec.PasidAW, spec.AW39))},
		{name: "FSPM not supported", code: 0x5b, setup: made(func(*rig) {}, with(spec.PasidFSPM, 1)),
			config: func(c *vtd.Config) { c.FS5LP = false }},
		{name: "SSPTPTR beyond HAW", code: 0x5a, setup: made(func(*rig) {}, func(e []uint64) { e[0] |= 1 << 50 })},
		{name: "leaf not readable", code: 0x70, setup: made(func(r *rig) { r.BusError(g.at(g.entry(iova, 0)), 8) })},
		{name: "leaf absent", code: 0x71, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), gpa) })},
		{name: "leaf reserved bits", code: 0x72, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), 1<<50|fsRWU) })},
		{name: "top not readable", code: 0x73, setup: made(func(r *rig) { r.BusError(g.at(g.top), 4096) })},
		{name: "top table beyond AW", code: 0x5b, setup: made(func(*rig) {}, func(e []uint64) { e[2] |= 1 << 48 })},
		{name: "top table beyond everything", code: 0x5b, setup: made(func(*rig) {}, func(e []uint64) { e[2] |= 1 << 63 })},
		{name: "table beyond MGAW", code: 0x74, setup: made(func(r *rig) {
			r.Put(g.at(g.entry(iova, 1)), 1<<46|fsRWU)
		}), config: func(c *vtd.Config) { c.MGAW = 46 }},
		{name: "top entry not readable in the second stage", code: 0x75, setup: second(0, 3, ssW)},
		{name: "below a table without R", code: 0x75, setup: second(1, 3, ssW)},
		{name: "entry not readable in the second stage", code: 0x76, setup: second(0, 0, ssW)},
		{name: "entry of a table not readable in the second stage", code: 0x76, setup: second(0, 2, ssW)},
		{name: "entry not writable in the second stage", code: 0x77, setup: second(0, 0, ssR)},
		{name: "entry of a table not writable in the second stage", code: 0x77, setup: second(0, 2, ssR)},
		{name: "second stage of a table not readable", code: 0x78, setup: made(func(r *rig) {
			r.BusError(r.pte(g.ss, g.entry(iova, 1), 0), 8)
		})},
		{name: "second stage of the output not readable", code: 0x78, setup: made(func(r *rig) { r.BusError(r.pte(g.ss, gpa, 0), 8) })},
		{name: "second stage of a table absent", code: 0x79, setup: second(0, 1, 0)},
		{name: "second stage of the top table absent", code: 0x79, setup: second(0, 3, 0)},
		{name: "second stage of the output absent", code: 0x79, setup: second(0, -1, 0)},
		{name: "nothing left over the levels of the second stage", code: 0x79, setup: made(func(r *rig) {
			for level, bits := range []uint64{ssR, ssW} {
				at := r.pte(g.ss, gpa, level)
				r.Put(at, r.Get(at)&spec.SSADDR.Mask()|bits)
			}
		}), q: write},
		{name: "reserved bits in the second stage of a table", code: 0x7a, setup: second(0, 1, ssRW|1<<62)},
		{name: "reserved bits in the second stage of the output", code: 0x7a, setup: second(1, -1, ssRW|1<<11)},
		{name: "second-stage top not readable", code: 0x7b, setup: made(func(r *rig) { r.BusError(g.ss, 4096) })},
		{name: "second-stage flag in a walk that does not snoop", code: 0x7c, setup: made(func(*rig) {}, ade, with(spec.PasidPWSNP, 0))},
		{name: "second-stage flag update fails", code: 0x7d, setup: made(func(r *rig) {
			at := r.pte(g.ss, gpa, 0)
			r.Mem.AddBusError(at, at+7, emu.Write)
		}, ade)},
		{name: "not canonical", code: 0x80, setup: made(func(*rig) {}), q: emu.Request{Addr: 1 << 47}},
		{name: "supervisor page", code: 0x81, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), gpa|fsP|fsW) })},
		{name: "execute without X in the second stage", code: 0x82, q: exec, setup: second(0, -1, ssRW, with(spec.PasidSSEE, 1))},
		{name: "XD", code: 0x82, q: exec, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), gpa|fsRWU|fsXD) }, with(spec.PasidNXE, 1))},
		{name: "output beyond AW", code: 0x74, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), 1<<48|fsRWU) }),
			config: func(c *vtd.Config) { c.HAW = 52 }},
		{name: "output beyond MGAW", code: 0x74, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), 1<<46|fsRWU) }),
			config: func(c *vtd.Config) { c.MGAW = 46 }},
		{name: "read-only in the first stage", code: 0x85, q: write, setup: made(func(r *rig) { r.Put(g.at(g.entry(iova, 0)), gpa|fsP|fsU) })},
		{name: "read-only in the second stage", code: 0x85, q: write, setup: second(0, -1, ssR)},
		{name: "write-only in the second stage", code: 0x86, setup: second(0, -1, ssW)},
		{name: "output in interrupt range", code: 0x87, setup: made(func(r *rig) { r.mapPage(g.ss, gpa, 0xfee0_0000, ssRW) })},
		{name: "first-stage flag in a walk that does not snoop", code: 0x90, setup: made(func(*rig) {}, with(spec.PasidPWSNP, 0))},
		{name: "dirty flag in a walk that does not snoop", code: 0x90, q: write,
			setup: made(func(r *rig) { set(r, fsA) }, with(spec.PasidPWSNP, 0))},
		{name: "first-stage flag update fails", code: 0x91, setup: made(func(r *rig) {
			at := g.at(g.entry(iova, 1))
			r.Mem.AddBusError(at, at+7, emu.Write)
		})},
	}
	for _, c := range cases {
		c.q.PASID = p
		t.Run(fmt.Sprintf("%02X %s", c.code, c.name), func(t *testing.T) { c.run(t, (*rig).scalable) })
	}
}

// An entry of the first stage with everything wrong, and of the second one behind it, is repaired step
// by step.
func TestVTDQuirk22_NestedOrderOfChecks(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.HAW = 52 })
	g := r.nest(sid, 5, 7, 0, with(spec.PasidPWSNP, 0))
	fs, ss := g.mapTwo(iova, gpa, 0x5000)
	g.preset(iova, fsA)
	r.scalable()
	const bad = uint64(1 << 51) // a guest-physical address beyond the width
	for _, c := range []struct {
		fs, ss uint64
		code   uint16
	}{
		{bad | gpa | fsXD, 1 << 62, vtd.FaultFSAbsent},
		{bad | gpa | fsXD | fsP, 1 << 62, vtd.FaultFSReserved},
		{bad | gpa | fsP, 1 << 62, vtd.FaultFSWidth},
		{gpa | fsP, 1 << 62, vtd.FaultUser},
		{gpa | fsP | fsU, 1 << 62, vtd.FaultWriteSM},
		{gpa | fsRWU, 1 << 62, vtd.FaultSSAbsent},
		{gpa | fsRWU, 1<<62 | ssR, vtd.FaultWriteSM},
		{gpa | fsRWU, 1<<62 | ssRW, vtd.FaultSSReservedSM},
		{gpa | fsRWU, 0xfee0_0000 | ssRW, vtd.FaultFSNoncoherent},
		{gpa | fsRWU | fsA | fsD, 0xfee0_0000 | ssRW, vtd.FaultOutputRangeSM},
	} {
		r.Put(fs, c.fs)
		r.Put(ss, c.ss)
		r.submitGlobal()
		r.RequireFault(r.pasidAccess(5, iova, emu.Write), c.code)
	}
	r.Put(ss, 0x5000|ssRW)
	r.submitGlobal()
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), 0x5000)
}

// reads counts the paging entries of both stages that were read so far.
func reads(s *emutest.Stepper) (n int) {
	for _, a := range s.Acts {
		switch a.Step {
		case vtd.StepFSTable, vtd.StepFSLeaf, vtd.StepSSTable, vtd.StepSSLeaf:
			if a.Op == emu.OpFetch {
				n++
			}
		}
	}
	return n
}

func TestColdNestedWalkReads24PagingEntries(t *testing.T) {
	none := iotlb.Geometry{}
	for _, c := range []struct {
		name   string
		config func(*vtd.Config)
		cold   int // from nothing
		next   int // the neighbouring page after that
	}{
		{"no caches", noCaches, 4*(4+1) + 4, 4*(4+1) + 4},
		{"only the IOTLB", func(c *vtd.Config) { c.Walk, c.Walk2, c.Stage2 = nil, nil, none }, 24, 24},
		// The first-stage tables share the second-stage table of their leaves, with the output they
		// share the top one.
		{"second-stage tables", func(c *vtd.Config) { c.Walk, c.Stage2 = nil, none }, 4 + (4 + 1 + 1 + 1) + 3, 4 + 4*1 + 1},
		{"second-stage translations", func(c *vtd.Config) { c.Walk, c.Walk2 = nil, nil }, 24, 4 + 4*0 + 4},
		{"first-stage tables", func(c *vtd.Config) { c.Walk2, c.Stage2 = nil, none }, 24, 1 + 4},
		{"all", func(*vtd.Config) {}, 14, 1 + 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, c.config)
			g := r.nest(sid, 0, 7, 0)
			g.mapTwo(iova, gpa, 0x5000)
			g.mapTwo(iova+4096, gpa+4096, 0x6000)
			r.scalable()
			for i, want := range []int{c.cold, c.next} {
				q := dma(emu.Read)
				q.Addr += emu.IOVA(i << 12)
				s := r.Begin(q)
				r.RequireOK(s.End(), uint64(0x5000+i<<12))
				require.Equal(t, want, reads(s))
			}
		})
	}
}
