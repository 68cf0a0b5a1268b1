package smmuv3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

const af = uint64(1) << 10

func hardware(b ...field) []field { return b }

func TestStage1FlagsByHardware(t *testing.T) {
	for _, caches := range []change{func(*smmuv3.Config) {}, noCaches} {
		r := newRig(t, caches).enable()
		_, root := r.attach(dev, hardware(field{spec.CdHA, 1}, field{spec.CdHD, 1})...)
		at := r.mapPage(root, iova, 0x5000, 3|user|ng|ro|dbm)
		r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
		require.Equal(t, uint64(0x5000|3|user|ng|ro|dbm|af), r.Get(at), "accessed, and not dirty")
		r.RequireOK(r.Do(dma(emu.Write)), 0x5000)
		require.Equal(t, uint64(0x5000|3|user|ng|dbm|af), r.Get(at), "AP[2] is clear: dirty")
		before := r.Get(at)
		r.RequireOK(r.Do(dma(emu.Write)), 0x5000)
		require.Equal(t, before, r.Get(at))
		// A page that is read-only stays so.
		at = r.mapPage(root, iova+0x1000, 0x6000, 3|user|ng|ro)
		r.RequireFault(r.Access(dev, iova+0x1000, emu.Write), smmuv3.FaultS1Permission)
		require.Zero(t, r.Get(at)&af)
	}
}

func TestStage2FlagsByHardware(t *testing.T) {
	r := newRig(t).enable()
	root := r.attach2(dev, field{spec.SteS2HA, 1}, field{spec.SteS2HD, 1})
	at := r.mapPage(root, iova, 0x5000, 3|1<<6|dbm)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	require.Equal(t, uint64(0x5000|3|1<<6|dbm|af), r.Get(at))
	r.RequireOK(r.Do(dma(emu.Write)), 0x5000)
	require.Equal(t, uint64(0x5000|3|3<<6|dbm|af), r.Get(at), "S2AP[1] is set: dirty")
}

// A descriptor of stage 1 that is marked is a write for stage 2.
func TestFlagsOfBothStages(t *testing.T) {
	n := newNested(t)
	n.set(n.cd+distance, field{spec.CdHA, 1}, field{spec.CdHD, 1})
	n.set(n.ste(dev), field{spec.SteS2HA, 1}, field{spec.SteS2HD, 1})
	at := n.leaf(iova, 0x77_0000, 3|user|ng|ro|dbm)
	data := n.mapPage(n.s2, 0x77_0000, 0x99_0000, 3|1<<6|dbm|0xf<<2)
	tables := n.mapPage(n.s2, uint64(at)&^0xfff, uint64(at)&^0xfff+distance, 3|1<<6|0xf<<2) // read-only
	e := n.requireEvent(dma(emu.Read), smmuv3.FaultS2Permission)
	require.Equal(t, spec.EvtRnW.Mask()|spec.EvtS2.Mask()|spec.EvtClass.Put(spec.ClassTT), e[1], "TTRnW=0: the descriptor was to be written")
	n.Put(tables, n.Get(tables)|dbm)
	n.submit(command(spec.CmdTlbiS12VMAll, field{spec.CmdVMID, vmid}), sync())
	n.RequireOK(n.Do(dma(emu.Read)), 0x99_0000)
	require.NotZero(t, n.Get(tables)&(1<<7), "the page of the table is dirty")
	require.Zero(t, n.Get(data)&(1<<7), "that of the data is not")
	require.NotZero(t, n.Get(data)&af)
	n.RequireOK(n.Do(dma(emu.Write)), 0x99_0000)
	require.NotZero(t, n.Get(data)&(1<<7))
	require.Zero(t, n.Get(at+distance)&ro)
}

// What software changes between read and update is looked at anew.
func TestFlagUpdateOfAChangedDescriptor(t *testing.T) {
	r := newRig(t).enable()
	_, root := r.attach(dev, hardware(field{spec.CdHA, 1}, field{spec.CdHD, 1})...)
	at := r.mapPage(root, iova, 0x5000, 3|user|ng|ro|dbm)
	s := r.Begin(dma(emu.Write))
	s.UntilFetch(at)
	r.Put(at, 0x6000|3|user|ng|ro|dbm)
	r.RequireOK(s.End(), 0x6000)
	require.Equal(t, uint64(0x6000|3|user|ng|dbm|af), r.Get(at))

	r.Put(at, 0x5000|3|user|ng|ro|dbm)
	r.submit(tlbiVA(spec.CmdTlbiNHVA, iova), sync())
	s = r.Begin(dma(emu.Write))
	s.UntilFetch(at)
	r.Put(at, 0)
	r.RequireFault(s.End(), smmuv3.FaultS1Translation)
	require.Zero(t, r.Get(at))
}

func TestAccessFlagsOfTableDescriptors(t *testing.T) {
	full := func(c *smmuv3.Config) { c.HTTU = spec.HTTUTable }
	r := newRig(t, full).enable()
	_, root := r.attach(dev, field{spec.CdHA, 1}, field{spec.CdHAFT, 1})
	r.mapPage(root, iova, 0x5000, s1RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	for l := int8(1); l <= 3; l++ {
		require.NotZero(t, r.Get(r.descriptor(spec.Granule4K, root, 3, iova, l))&af)
	}
	r = newRig(t, full).enable()
	root = r.attach2(dev, field{spec.SteS2HA, 1}, field{spec.SteS2HAFT, 1})
	r.mapPage(root, iova, 0x5000, s2RW)
	r.RequireOK(r.Do(dma(emu.Read)), 0x5000)
	for l := int8(1); l <= 3; l++ {
		require.NotZero(t, r.Get(r.descriptor(spec.Granule4K, root, 3, iova, l))&af)
	}
}
