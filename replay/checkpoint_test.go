package replay

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host"
)

// hardware is a machine with a real unit and a device whose requests wait in a queue: what a
// checkpoint covers.
type hardware struct {
	m     *timing.Machine
	queue *device.Queue
	play  *device.Player
	log   []string
}

func newHardware(t *testing.T, a *arch, mode *mode) *hardware {
	p := preset(t, "default").For(a.name)
	h := &hardware{m: timing.New(p.Params, mem.New()), queue: device.NewQueue(4096)}
	u, err := mode.unit(p, 1)
	require.NoError(t, err)
	h.m.AddUnit(u, 64)
	h.m.AddCPU(1)
	h.play = device.NewPlayer(h.m, device.Config{Outstanding: 8}, h.queue, func(c *timing.Completion) {
		h.log = append(h.log, fmt.Sprintf("%d %#x -> %#x %d %d", c.Done, c.Request.Addr, c.Result.PA, c.Result.Status, c.Result.Fault.Code))
	})
	return h
}

// start programs the unit and gives the device its requests.
func (h *hardware) start(t *testing.T, cpu host.CPU, lay layout, mode *mode) {
	frames, err := host.NewFrames(cpu, lay.tables(), tableSize)
	require.NoError(t, err)
	drv, err := mode.driver(cpu, 0, frames, 0)
	require.NoError(t, err)
	dom, err := drv.NewDomain(host.DomainSpec{Width: mode.limit, Stage: mode.stage})
	require.NoError(t, err)
	require.NoError(t, drv.Attach(labSID, emu.NoPASID, dom))
	for p := range uint64(300) {
		require.NoError(t, dom.Map(emu.IOVA(p<<12), emu.PA(1<<32|(p^1)<<12), 4096, emu.RW))
	}
	for i := range uint64(600) {
		h.queue.Put(&emu.Request{Addr: emu.IOVA(i * 7919 % 310 << 12), Source: labSID, PASID: emu.NoPASID, Len: 64, Access: emu.Read}, 0)
	}
	h.play.Kick()
}

func (h *hardware) finish() {
	for h.m.Step() {
	}
}

// A checkpoint at any cycle, put into a machine built alike, goes on as the original would: walks in
// flight, caches with their replacement state, faults and pending events included.
func TestCheckpoint_RealUnitAtAnyCycle(t *testing.T) {
	for _, a := range architectures {
		for _, mode := range a.modes {
			checkpoints(t, a, mode)
		}
	}
}

func checkpoints(t *testing.T, a *arch, mode *mode) {
	whole := newHardware(t, a, mode)
	cpu := whole.m.AddCPU(2)
	whole.start(t, cpu, a.lay, mode)
	begin := whole.m.Now()
	var states [][]byte
	var seen []int
	for cut := begin; len(states) < 25; cut += 331 {
		whole.m.RunUntil(cut)
		var e emu.Encoder
		whole.m.Save(&e)
		states, seen = append(states, e.Bytes()), append(seen, len(whole.log))
	}
	whole.finish()
	require.Len(t, whole.log, 600)
	for i, s := range states {
		h := newHardware(t, a, mode)
		h.m.AddCPU(2)
		// The fault handler is host code: only its message is hardware.
		for range whole.m.Interrupts() {
			h.m.Processor(1).OnIRQ(func() {})
		}
		require.NoError(t, h.m.Restore(emu.NewDecoder(s)))
		h.finish()
		require.Equal(t, whole.log[seen[i]:], h.log, "%s %s checkpoint %d", a.name, mode.name, i)
	}
}
