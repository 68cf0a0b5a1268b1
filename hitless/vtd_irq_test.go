package hitless

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

const irteAt = emu.PA(0x10_0050) // entry 5

// interruptWorld is a unit with interrupt remapping on, and a request through an entry that sends
// vector 41h for one source before, and vector 42h for another one after.
func interruptWorld(t *testing.T, cached bool) (sc Scenario, old, new [2]uint64) {
	c := vtd.DefaultConfig()
	if !cached {
		c.InterruptCache = iotlb.Geometry{}
	}
	u, err := vtd.New(c)
	require.NoError(t, err)
	m := mem.New()
	cpu := emu.NewFunctional(u, m)
	old = [2]uint64{0x0000_0200_0041_0001, 1<<18 | uint64(sid)}
	new = [2]uint64{0x0000_0300_0042_0001, 1<<18 | uint64(sid+1)}
	cpu.Store128(irteAt, old[0], old[1])
	cpu.WriteReg(0, spec.OffIRTA, 8, 0x10_0004)
	cpu.WriteReg(0, spec.OffGCMD, 4, spec.GcmdSIRTP.Mask())
	cpu.WriteReg(0, spec.OffGCMD, 4, spec.GcmdIRE.Mask())
	return Scenario{Unit: u, Memory: m, Request: emu.Request{
		Addr: 0xfee0_0010 | 5<<5, Source: sid, PASID: emu.NoPASID, Len: 4, Access: emu.Write,
	}}, old, new
}

var dropIRTE = Sync("interrupt-entry cache, index 5", emu.Selector{
	Caches: emu.CacheInterrupt.Set(), Match: emu.MatchAddress, First: 5, Last: 5,
})

// A live interrupt entry that is rewritten in two stores sends the new vector for the old source, or
// none at all; one store of 16 bytes is hitless. Either needs the invalidation.
func TestVTD_InterruptEntryRewrite(t *testing.T) {
	for _, cached := range []bool{true, false} {
		for _, c := range []struct {
			name    string
			program func(old, new [2]uint64) []Step
			outside bool
			stale   bool // with a cache
		}{
			{"low half first", func(_, new [2]uint64) []Step {
				return []Step{Store64("low", irteAt, new[0]), Store64("high", irteAt+8, new[1]), dropIRTE}
			}, true, false},
			{"one store", func(_, new [2]uint64) []Step {
				return []Step{Store128("both", irteAt, new[0], new[1]), dropIRTE}
			}, false, false},
			{"one store, invalidation of another entry", func(_, new [2]uint64) []Step {
				other := dropIRTE
				other.Invalidate = []emu.Selector{{Caches: emu.CacheInterrupt.Set(), Match: emu.MatchAddress, First: 6, Last: 7}}
				return []Step{Store128("both", irteAt, new[0], new[1]), other}
			}, false, true},
			{"one store, invalidation of translations", func(_, new [2]uint64) []Step {
				return []Step{Store128("both", irteAt, new[0], new[1]), Sync("IOTLB", emu.Selector{Caches: emu.CacheIOTLB.Set()})}
			}, false, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				sc, old, new := interruptWorld(t, cached)
				sc.Program = c.program(old, new)
				rep, err := Explore(&sc)
				require.NoError(t, err)
				require.Len(t, rep.Old, 1)
				require.Equal(t, emu.Interrupt, rep.Old[0].Status)
				require.EqualValues(t, 0x4041, rep.Old[0].Data)
				require.Len(t, rep.New, 1)
				require.EqualValues(t, vtd.FaultIRTESource, rep.New[0].Code)
				outside := rep.Outside()
				require.Equal(t, c.outside, len(outside) > 0)
				require.Equal(t, c.outside, len(rep.Torn(irteAt, old[:], new[:])) > 0)
				if c.outside {
					require.Equal(t, emu.Interrupt, outside[0].Status)
					require.EqualValues(t, 0x4042, outside[0].Data)
					require.Equal(t, emu.MSITo(3), outside[0].PA)
				}
				// Without a cache an invalidation that misses the interrupt does not wait for it either, but
				// who begins after it reads the new entry.
				require.Equal(t, c.stale && cached, len(rep.Stale()) > 0)
			})
		}
	}
}

// An interrupt that is posted sets its bit in the descriptor and goes on to the notification.
func TestVTD_PostingIsExplored(t *testing.T) {
	sc, _, _ := interruptWorld(t, true)
	sc.Memory.Store(irteAt, 16, &[4]uint64{0x8001 | 0x41<<16 | 0x2000_0000<<32, 0})
	rep, err := Explore(&sc)
	require.NoError(t, err)
	require.NotEmpty(t, rep.All)
	require.Equal(t, emu.Interrupt, rep.All[0].Status, "ON was clear: a notification")
	require.True(t, slices.ContainsFunc(rep.All[0].Path, func(l string) bool { return strings.Contains(l, "set bits in") }), rep.All[0].Path)
}
