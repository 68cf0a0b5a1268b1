package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// What starts after the wait descriptor of a complete invalidation has signalled must never see
// what was before, in whatever order everything ran.
func TestNothingOldIsSeenAfterTheWait(t *testing.T) {
	scenarios := map[string]struct {
		sm     bool
		change func(r *rig, pte emu.PA)
	}{
		"leaf": {change: func(r *rig, pte emu.PA) {
			r.Put(pte, 0x6000|ssRW)
			r.push(iotlbInv(spec.GranPage, 7), pageInv(iova, 0, true))
		}},
		"context": {change: func(r *rig, _ emu.PA) {
			r.mapPage(r.attach(sid, 8), iova, 0x6000, ssRW)
			r.push(ccInv(spec.GranDevice, 7, uint64(sid), 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"tables of the same domain": {change: func(r *rig, _ emu.PA) {
			r.mapPage(r.attach(sid, 7), iova, 0x6000, ssRW)
			r.push(ccInv(spec.GranDevice, 7, uint64(sid), 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"PASID entry": {sm: true, change: func(r *rig, _ emu.PA) {
			top := r.Page()
			r.mapPage(top, iova, 0x6000, ssRW)
			at := r.pasidEntry(sid, 0)
			w := r.Get(at)
			v := [4]uint64{w&^spec.PasidSSPTPTR.Mask() | uint64(top), spec.PasidDID.Put(8) | spec.PasidPWSNP.Mask()}
			require.True(r.T, r.Mem.Store(at, 16, &v))
			r.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
		"tables of the same domain and PASID": {sm: true, change: func(r *rig, _ emu.PA) {
			top := r.Page()
			r.mapPage(top, iova, 0x6000, ssRW)
			at := r.pasidEntry(sid, 0)
			r.Put(at, r.Get(at)&^spec.PasidSSPTPTR.Mask()|uint64(top))
			r.push(pcInv(spec.GranPCPASID, 7, 0), 0)
			r.push(iotlbInv(spec.GranDomain, 7), 0)
		}},
	}
	for name, sc := range scenarios {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(150) {
				r := newRig(t)
				top := emu.PA(0)
				if sc.sm {
					top = r.bind(sid, 0, spec.PGTTSecond, 7)
					r.scalable()
				} else {
					top = r.attach(sid, 7)
					r.legacy()
				}
				pte := r.mapPage(top, iova, 0x5000, ssRW)
				r.queue(sc.sm)
				r.nothingOld(seed, 80, func() { sc.change(r, pte) })
			}
		})
	}
}

// nothingOld makes a change, which pushes its invalidations, of where iova is translated to, from 0x5000
// to 0x6000, up to turns steps after requests have begun.
func (r *rig) nothingOld(seed uint64, turns int, change func()) {
	r.Crew(seed).NothingOld(r.rewrite(emutest.Rewrite{Request: dma(emu.Read), Old: 0x5000, New: 0x6000, Turns: turns, Change: change}))
}

// rewrite completes w with a wait descriptor behind the change.
func (r *rig) rewrite(w emutest.Rewrite) emutest.Rewrite {
	change := w.Change
	w.Change = func() { change(); r.push(wait(1, r.status())) }
	w.Bell = func() emu.Wake { return r.u.WriteReg(spec.OffIQT, 4, r.tail) }
	w.Complete = func() bool { return r.Get(r.status()) == 1 }
	return w
}
