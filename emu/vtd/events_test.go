package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// The text of FECTL_REG.IP: no new condition if any status field of FSTS_REG was set already, and
// served when all of them are clear. PFO is a status field.
func TestFaultEvent_OverflowIsAStatusLikeAnother(t *testing.T) {
	r := newRig(t, func(c *vtd.Config) { c.FaultRecords = 1 })
	r.legacy()
	r.queue(false)
	r.Access(sid, iova, emu.Read)
	r.Access(sid+1, iova, emu.Read)
	require.Equal(t, spec.FstsPFO.Mask()|spec.FstsPPF.Mask(), r.R32(spec.OffFSTS))
	pending := func() bool { return spec.EventIP.On(r.R32(spec.OffFECTL)) }
	require.True(t, pending(), "masked, so held")

	r.W32(r.u.Config().FaultOffset+spec.FRCDStatus, 1<<31)
	require.Equal(t, spec.FstsPFO.Mask(), r.R32(spec.OffFSTS))
	require.True(t, pending(), "PFO is left to be served")
	r.unmask()
	require.Equal(t, []uint32{feData}, r.MSI)

	r.submit(0, 0) // a descriptor of no type
	require.True(t, r.iqe())
	require.Len(t, r.MSI, 1, "PFO was set already")
	require.False(t, pending())

	r.W32(spec.OffFSTS, spec.FstsPFO.Mask()|spec.FstsIQE.Mask())
	require.True(t, r.iqe(), "the descriptor is still there")
	require.Len(t, r.MSI, 2, "nothing else was set")
}

// A right that an entry above lacks is the fault, whether that entry comes from memory or from a
// paging-structure cache.
func TestSecondStage_CachedTablesRefuseAsThoseInMemory(t *testing.T) {
	for name, below := range map[string]uint64{"absent": 0, "reserved": 0x5000 | ssRW | 1<<62, "present": 0x5000 | ssRW} {
		for _, cached := range []bool{false, true} {
			r := newRig(t)
			top := r.bind(sid, 0, spec.PGTTSecond, 7)
			r.Put(r.pte(top, iova, 0), below)
			upper := r.pte(top, iova, 2)
			r.Put(upper, r.Get(upper)&^ssW)
			other := uint64(iova) ^ 0x1000
			r.mapPage(top, other, 0x6000, ssRW)
			r.scalable()
			if cached {
				r.RequireOK(r.Access(sid, other, emu.Read), 0x6000)
			}
			res := r.Access(sid, iova, emu.Write)
			require.Equal(t, uint16(vtd.FaultWriteSM), res.Fault.Code, "%s, cached %v: %#x", name, cached, res.Fault.Code)
		}
	}

	r := newRig(t) // where the table below is not to be read at all
	top := r.bind(sid, 0, spec.PGTTSecond, 7)
	r.Mem.SetLimit(1 << 32)
	r.Put(r.pte(top, iova, 2), 1<<40|ssR)
	r.scalable()
	r.RequireFault(r.Access(sid, iova, emu.Read), vtd.FaultSSReadSM)
	r.RequireFault(r.Access(sid, iova, emu.Write), vtd.FaultWriteSM)
}
