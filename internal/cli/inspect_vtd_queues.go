package cli

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// vtdQueues yields the invalidation queue and, if the unit has one, the page request queue.
func vtdQueues(s *snap, each func(*queue) error) error {
	get := func(off uint32) uint64 {
		v, _ := registerAt(s.regs.Image, off, 8)
		return v
	}
	status, _ := registerAt(s.regs.Image, spec.OffGSTS, 4)
	if iqa, ok := registerAt(s.regs.Image, spec.OffIQA, 8); ok && (iqa != 0 || spec.GstsQIES.On(status)) {
		q := queue{
			name: "invalidation queue", at: emu.PA(iqa & spec.IqaIQA.Mask()), bytes: 16 << spec.IqaDW.Of(iqa),
			on: spec.GstsQIES.On(status), layout: vtdDescriptor,
		}
		q.entries = emu.PageSize << spec.IqaQS.Of(iqa) / q.bytes
		q.head = int(get(spec.OffIQH)&spec.IqhQH.Mask()) / q.bytes
		q.tail = int(get(spec.OffIQT)&spec.IqtQT.Mask()) / q.bytes
		if faults, _ := registerAt(s.regs.Image, spec.OffFSTS, 4); spec.FstsIQE.On(faults) {
			q.note = "stopped at head: invalidation queue error"
		}
		if err := each(&q); err != nil {
			return err
		}
	}
	pqa, ok := registerAt(s.regs.Image, spec.OffPQA, 8)
	if ecap := get(spec.OffECAP); !ok || !spec.EcapPRS.On(ecap) {
		return nil
	}
	const size = 32
	return each(&queue{
		name: "page request queue", at: emu.PA(pqa & spec.PqaPQA.Mask()), bytes: size, on: true,
		entries: emu.PageSize << spec.PqaPQS.Of(pqa) / size,
		head:    int(get(spec.OffPQH)&spec.PqhPQH.Mask()) / size,
		tail:    int(get(spec.OffPQT)&spec.PqtPQT.Mask()) / size,
		layout:  func([]uint64) *reg.Layout { return &spec.PageRequestLayout },
	})
}
