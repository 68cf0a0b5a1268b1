package cli

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/reg"
)

// amdviQueues yields the command buffer and the logs that have a place in memory.
func amdviQueues(s *snap, each func(*queue) error) error {
	status, _ := registerAt(s.regs.Image, spec.OffStatus, 8)
	only := func(l *reg.Layout) func([]uint64) *reg.Layout { return func([]uint64) *reg.Layout { return l } }
	for _, r := range []struct {
		name             string
		base, head, tail uint32
		bytes            int
		run              reg.Bits
		full             uint64 // overflow, in Status
		layout           func([]uint64) *reg.Layout
	}{
		{"command buffer", spec.OffCmdBufBase, spec.OffCmdHead, spec.OffCmdTail, spec.CommandSize, spec.StsCmdBufRun, 0, amdviCommand},
		{"event log", spec.OffEventLogBase, spec.OffEventHead, spec.OffEventTail, spec.EventSize, spec.StsEventLogRun, spec.StsEventOverflow.Mask(), amdviEvent},
		{"PPR log", spec.OffPPRLogBase, spec.OffPPRHead, spec.OffPPRTail, spec.PPRSize, spec.StsPPRLogRun, spec.StsPprOverflow.Mask(), only(&spec.PPRLayout)},
		{"GA log", spec.OffGALogBase, spec.OffGAHead, spec.OffGATail, spec.GAEntrySize, spec.StsGALogRun, spec.StsGALOverflow.Mask(), only(&spec.GALayout)},
	} {
		base, ok := registerAt(s.regs.Image, r.base, 8)
		if !ok || base&spec.RingBase.Mask() == 0 && !r.run.On(status) {
			continue
		}
		head, _ := registerAt(s.regs.Image, r.head, 8)
		tail, _ := registerAt(s.regs.Image, r.tail, 8)
		q := queue{
			name: r.name, at: emu.PA(base & spec.RingBase.Mask()), bytes: r.bytes, on: r.run.On(status), layout: r.layout,
			entries: spec.CommandSize << spec.RingLen.Of(base) / r.bytes,
			head:    int(head&spec.GARingPtr.Mask()) / r.bytes,
			tail:    int(tail&spec.GARingPtr.Mask()) / r.bytes,
		}
		switch {
		case spec.RingLen.Of(base) < spec.MinRingLen:
			q.note = "its length is reserved"
		case r.full&status != 0:
			q.note = "overflow"
		}
		if err := each(&q); err != nil {
			return err
		}
	}
	return nil
}
