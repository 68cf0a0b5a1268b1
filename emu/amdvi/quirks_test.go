package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// Each test TestAMDQuirkNN here and in the other files is a point that implementers of AMD-Vi get
// wrong; docs/amdvi.md lists them all. This file has those of the device table entry.

func interrupt() emu.Request {
	q := dma(emu.Write)
	msi(&q)
	return q
}

func TestAMDQuirk01_VClearPassesUntranslated(t *testing.T) {
	r := newRig(t).enable()
	r.Put(r.dte(dev), ^uint64(1), ^uint64(0)) // everything but V: none of it counts
	for range 2 {
		res := r.Access(dev, iova, emu.Write)
		r.RequireOK(res, iova)
		require.EqualValues(t, 64, res.Lg2)
	}
	r.RequireOK(r.pasidAccess(5, iova, emu.Write), iova)
	// Blocked: TV=0, or no rights.
	r.Put(r.dte(other), 1)
	r.RequireFault(r.Access(other, iova, emu.Read), amdvi.FaultTV)
	r.Put(r.dte(0x400), 3)
	r.RequireFault(r.Access(0x400, iova, emu.Read), amdvi.FaultPermission)
	// IV is independent of V, both ways.
	r.bind(0x500)
	q := interrupt()
	q.Source = 0x500
	res := r.Do(q)
	require.Equal(t, emu.Interrupt, res.Status)
	require.Equal(t, q.Data, res.Data)
	require.EqualValues(t, q.Addr, res.PA)
}

func TestAMDQuirk02_IVWithIntCtlZeroAborts(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.DteIV, 1})
	r.RequireFault(r.Do(interrupt()), amdvi.FaultInterruptAborted)
	e := r.event()
	require.Equal(t, fI, flags(e))
	require.EqualValues(t, did, e[0]>>32&0xffff)
	require.EqualValues(t, interrupt().Addr, e[1])
	r.RequireOK(r.Access(dev, iova, emu.Read), iova)
	r.bind(dev, field{spec.DteIV, 1}, field{spec.DteIntCtl, spec.IntCtlPass})
	r.RequireFault(r.Do(interrupt()), amdvi.FaultInterruptAborted) // cached
	r.event()
	r.submit(invDevtab(dev))
	require.Equal(t, emu.Interrupt, r.Do(interrupt()).Status)
	// IG keeps it out of the log.
	r.bind(other, field{spec.DteIV, 1}, field{spec.DteIG, 1})
	q := interrupt()
	q.Source = other
	res := r.Do(q)
	r.RequireFault(res, amdvi.FaultInterruptAborted)
	require.True(t, res.Fault.Quiet)
	require.Empty(t, r.events())
}

func TestAMDQuirk03_ModeZeroIsIdentityWithRights(t *testing.T) {
	r := newRig(t).enable()
	r.bind(dev, field{spec.DteIW, 0})
	for range 2 {
		res := r.Access(dev, ^uint64(0)&^0xfff, emu.Read)
		r.RequireOK(res, ^uint64(0)&^0xfff)
		require.Equal(t, emu.Read, res.Perm)
		r.RequireFault(r.Access(dev, iova, emu.Write), amdvi.FaultPermission)
	}
}

func TestAMDQuirk12_GuestPagingModeIsInTheUpperHalf(t *testing.T) {
	r := fullRig(t)
	g := r.guests(5, 0, 0, giov)
	g.gmap(0, iova, 0x7000, gAll)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x7000)
	at := r.dte(dev)
	require.Zero(t, r.Get(at+8)&^(uint64(did)|spec.DteGCR3Mid.Mask()|spec.DteGCR3Hi.Mask()))
	require.EqualValues(t, 1<<54, r.Get(at+16))
	r.Put(at+16, 0)
	r.submit(invDevtab(dev), invAll())
	r.RequireFault(r.Access(dev, iova, emu.Read), amdvi.FaultGuestNotPresent) // four levels from the top of five
}

func TestAMDQuirk13_DTEIsReadInOnePieceAndKept(t *testing.T) {
	r := newRig(t).enable()
	r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
	s := r.Begin(dma(emu.Read))
	var seen []uint64
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, at emu.PA, words []uint64) {
		require.Equal(t, emu.StructDevice, kind)
		require.Equal(t, r.dte(dev), at)
		seen = append([]uint64(nil), words...)
	}))
	s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == r.dte(dev) })
	require.EqualValues(t, 32, s.Txn.Act.Size)
	w0 := r.Get(r.dte(dev))
	r.Put(r.dte(dev), 0, 0, 0, 0)
	r.RequireOK(s.End(), 0x5000)
	require.Equal(t, []uint64{w0, did, 0, 0}, seen)
	r.RequireOK(r.Access(dev, iova, emu.Read), 0x5000)
	r.submit(invDevtab(dev))
	r.RequireOK(r.Access(dev, iova, emu.Read), iova)
}

func TestGCR3EntryIsShownToTheObserver(t *testing.T) {
	r := fullRig(t)
	g := r.guests(4, 2, 0)
	g.gmap(5, iova, 0x7000, gAll)
	seen := map[emu.PA][]uint64{}
	r.u.Observe(emutest.Observer(func(kind emu.StructKind, at emu.PA, words []uint64) {
		if kind == emu.StructPASID {
			seen[at] = append([]uint64(nil), words...)
		}
	}))
	r.RequireOK(r.pasidAccess(5, iova, emu.Read), 0x7000)
	require.Equal(t, map[emu.PA][]uint64{g.slot(5): {r.Get(g.slot(5))}}, seen)
}
