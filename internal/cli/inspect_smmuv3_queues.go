package cli

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuv3Queues yields the command queue, the event queue and, if the unit has one, the PRI queue.
func smmuv3Queues(s *snap, each func(*queue) error) error {
	get := func(off uint32) uint64 {
		v, _ := registerAt(s.regs.Image, off, 4)
		return v
	}
	idr0, idr1, cr0 := get(spec.OffIDR0), get(spec.OffIDR1), get(spec.OffCR0ACK)
	errs := get(spec.OffGERROR) ^ get(spec.OffGERRORN)
	for _, r := range []struct {
		name             string
		base, prod, cons uint32
		bytes            int
		max              reg.Bits // in IDR1
		on               bool
		fails            reg.Bits // in GERROR
		layout           func([]uint64) *reg.Layout
	}{
		{"command queue", spec.OffCMDQBase, spec.OffCMDQProd, spec.OffCMDQCons, spec.CommandSize, spec.Idr1CMDQS, spec.Cr0CMDQEN.On(cr0), spec.GerrCMDQ, smmuv3Command},
		{"event queue", spec.OffEVENTQBase, spec.OffEVENTQProd, spec.OffEVENTQCons, spec.EventSize, spec.Idr1EVENTQS, spec.Cr0EVENTQEN.On(cr0), spec.GerrEVENTQAbt, smmuv3Event},
		{"PRI queue", spec.OffPRIQBase, spec.OffPRIQProd, spec.OffPRIQCons, spec.PRISize, spec.Idr1PRIQS, spec.Cr0PRIQEN.On(cr0), spec.GerrPRIQAbt,
			func([]uint64) *reg.Layout { return &spec.PRILayout }},
	} {
		base, ok := registerAt(s.regs.Image, r.base, 8)
		if !ok || r.base == spec.OffPRIQBase && !spec.Idr0PRI.On(idr0) {
			continue
		}
		log2 := min(spec.QBaseLog2.Of(base), r.max.Of(idr1))
		prod, cons := get(r.prod), get(r.cons)
		index := uint64(1)<<log2 - 1
		q := queue{
			name: r.name, bytes: r.bytes, on: r.on, layout: r.layout, entries: 1 << log2,
			at:   alignDown(emu.PA(base&spec.QBaseAddr.Mask()), log2+lg2Of(r.bytes)),
			head: int(cons & index), tail: int(prod & index),
			full: (prod^cons)>>log2&1 != 0,
		}
		switch {
		case r.fails.On(errs) && r.base == spec.OffCMDQBase:
			q.note = fmt.Sprintf("stopped at head: error %d", spec.CmdqErr.Of(cons))
		case r.fails.On(errs):
			q.note = "a write to it was aborted"
		case r.base != spec.OffCMDQBase && spec.QOverflow.Of(prod) != spec.QOverflow.Of(cons):
			q.note = "overflow"
		}
		if err := each(&q); err != nil {
			return err
		}
	}
	return nil
}

// lg2Of is log2 of the size of an entry.
func lg2Of(bytes int) (n uint64) {
	for ; bytes > 1; bytes >>= 1 {
		n++
	}
	return n
}
