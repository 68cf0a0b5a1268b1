package vtd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	dma "github.com/iommulab/iommulab/emu/device"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/timing"
	hw "github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/internal/drivertest"
	"github.com/iommulab/iommulab/iotlb"
)

// irqMachine is a timed machine with two processors, and a driver that runs on the first.
func irqMachine(t *testing.T, change ...func(*hw.Config)) (*Driver, *timing.Machine, [2]*timing.CPU) {
	p, err := timing.LoadPreset("default")
	require.NoError(t, err)
	c := hw.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := hw.New(c)
	require.NoError(t, err)
	m := timing.New(p.Params, mem.New())
	m.AddUnit(u, 64)
	cpus := [2]*timing.CPU{m.AddCPU(1), m.AddCPU(1)}
	f, err := host.NewFrames(cpus[0], drivertest.RAMBase, drivertest.RAMSize)
	require.NoError(t, err)
	d, err := New(cpus[0], f, Options{HAW: c.HAW, IRQ: true, IRQEntries: 64})
	require.NoError(t, err)
	require.NoError(t, d.Enable())
	return d, m, cpus
}

func message(addr emu.PA, data uint32) host.Message { return host.Message{Addr: addr, Data: data} }

func ofDevice(m host.Message) dma.Message {
	return dma.Message{Source: dev, Addr: emu.IOVA(m.Addr), Data: m.Data}
}

// A device writes a page and interrupts: the handler runs when the data is there, whether the write
// hits or misses, and the interrupt too.
func TestTimed_InterruptOfADeviceReachesItsHandlerBehindItsData(t *testing.T) {
	d, m, cpus := irqMachine(t)
	dom, err := d.NewDomain(host.DomainSpec{})
	require.NoError(t, err)
	require.NoError(t, dom.Map(0x10000, target, 0x10000, emu.RW))
	require.NoError(t, d.Attach(dev, emu.NoPASID, dom))
	var handled []uint64
	irq, msg, err := d.MapIRQ(dev, message(cpus[0].OnIRQ(func() { handled = append(handled, cpus[0].Now()) })))
	require.NoError(t, err)
	require.Zero(t, irq)

	var visible uint64
	work := dma.NewQueue(8)
	player := dma.NewPlayer(m, dma.Config{Outstanding: 8}, work, func(c *timing.Completion) {
		if c.Result.Status == emu.OK {
			visible = max(visible, c.Done-m.Params.Link)
		}
	})
	for i := range 16 {
		handled, visible = nil, 0
		start := m.Now()
		for n := range 3 {
			q := emu.Request{Addr: emu.IOVA(0x10000 + (i+n)%16*0x1000), Source: dev, PASID: emu.NoPASID, Len: 64, Access: emu.Write}
			require.True(t, work.Put(&q, 0))
		}
		player.Kick()
		player.Interrupt(ofDevice(msg))
		require.True(t, cpus[0].Poll(func() bool { return len(handled) == 1 }, 100_000))
		require.GreaterOrEqual(t, handled[0], visible+m.Params.MSI)
		require.Less(t, handled[0], visible+m.Params.MSI+2*m.Params.Host.IRQ, "and no later than that takes")
		require.Greater(t, visible, start)
		require.True(t, cpus[0].Poll(player.Idle, 100_000))
	}
	// Another function of the same device may not use the entry.
	player.Interrupt(dma.Message{Source: dev + 1, Addr: emu.IOVA(msg.Addr), Data: msg.Data})
	handled = nil
	var fault host.FaultRecord
	d.OnFault(func(f host.FaultRecord) { fault = f })
	require.True(t, cpus[0].Poll(func() bool { return fault.Reason != 0 }, 100_000))
	require.Equal(t, host.FaultRecord{Reason: 0x26, Source: dev + 1, PASID: emu.NoPASID, Interrupt: true}, fault)
	require.Empty(t, handled)
}

// An interrupt moves to and fro between two processors while the device sends it: each one arrives
// once, and none at the old place after MoveIRQ has returned.
func TestTimed_MoveIRQUnderInterrupts(t *testing.T) {
	d, m, cpus := irqMachine(t)
	var count [2]int
	var to [2]host.Message
	for i, c := range cpus {
		to[i] = message(c.OnIRQ(func() { count[i]++ }))
	}
	require.Equal(t, emu.MSITo(1), to[1].Addr)
	q, msg, err := d.MapIRQ(dev, to[0])
	require.NoError(t, err)
	const interrupts, apart = 400, 2500 // further apart than a handler takes: none is pending twice
	sent := 0
	first := m.Now()
	player := dma.NewPlayer(m, dma.Config{Outstanding: 4}, dma.Func(func(q *emu.Request) (uint64, bool) {
		*q = ofDevice(msg).Request()
		sent++
		return first + uint64(sent)*apart + uint64(sent*sent)%977, sent <= interrupts
	}), nil)
	player.Kick()
	moves, done := 0, false
	compute := func(c *timing.CPU, n int) { // in pieces, between which handlers run
		for ; n > 0; n -= 100 {
			c.Compute(100)
		}
	}
	m.RunCPUs(map[*timing.CPU]func(*timing.CPU){
		cpus[0]: func(c *timing.CPU) {
			defer func() { done = true }() // a failed check ends this program only
			for place := 1; sent <= interrupts || !player.Idle(); place = 1 - place {
				require.NoError(t, d.MoveIRQ(q, 0, to[place]))
				moves++
				compute(c, int(2*m.Params.Host.IRQ)) // handlers of what has arrived
				old, new := count[1-place], count[place]
				compute(c, 5000+moves*37%1000)
				require.Equal(t, old, count[1-place], "move %d", moves)
				require.Greater(t, count[place], new, "move %d: interrupts go on", moves)
			}
			compute(c, 10_000)
		},
		cpus[1]: func(c *timing.CPU) {
			for !done {
				compute(c, 100)
			}
		},
	})
	require.Equal(t, interrupts, count[0]+count[1])
	require.Greater(t, moves, 50)
	t.Logf("%d moves, %v interrupts", moves, count)
}

// An entry that is rewritten in two stores is seen half done: an interrupt is posted to an address that
// nobody meant. In one store it is not.
func TestTimed_TornInterruptEntry(t *testing.T) {
	const (
		descriptor = emu.PA(0x12_3456_7040)
		elsewhere  = descriptor & 0xffff_ffff
	)
	for _, naive := range []bool{true, false} {
		// Without a cache each interrupt reads its entry.
		d, m, cpus := irqMachine(t, func(c *hw.Config) { c.InterruptCache = iotlb.Geometry{} })
		direct := 0
		to := message(cpus[0].OnIRQ(func() { direct++ }))
		q, msg, err := d.MapIRQ(dev, to)
		require.NoError(t, err)
		w, err := d.Notification(to)
		require.NoError(t, err)
		cpus[0].Store64(descriptor+32, w|2)
		player := dma.NewPlayer(m, dma.Config{Outstanding: 4, Interval: 50}, dma.Func(func(q *emu.Request) (uint64, bool) {
			*q = ofDevice(msg).Request()
			return 0, true
		}), nil)
		player.Kick()
		wrong := 0
		for range 50 {
			if naive {
				e := posted(source(dev), descriptor, 0x41, false)
				at, _, _ := d.IRQTable()
				at += emu.PA(q) * 16
				cpus[0].Store64(at, e[0])
				cpus[0].Compute(100) // an interrupt of its own, or any other delay
				cpus[0].Store64(at+8, e[1])
				require.NoError(t, d.dropIRTEs(int(q), 1))
			} else {
				require.NoError(t, d.PostIRQ(q, 0, descriptor, 0x41, false))
			}
			cpus[0].Compute(1000)
			if cpus[0].Load64(elsewhere+8) != 0 {
				wrong++
				cpus[0].Zero(elsewhere, 64)
			}
			require.EqualValues(t, 1<<1, cpus[0].Load64(descriptor+8))
			require.NoError(t, d.MoveIRQ(q, 0, to))
		}
		require.NotZero(t, direct)
		if naive {
			require.Greater(t, wrong, 10)
		} else {
			require.Zero(t, wrong)
		}
		t.Logf("naive %v: %d of 50 rewrites posted elsewhere", naive, wrong)
	}
}

// The closed formulas of docs/timing.md.
func TestTimed_InterruptFormulas(t *testing.T) {
	const descriptor = emu.PA(0x12_3456_7040)
	d, m, cpus := irqMachine(t)
	p := &m.Params
	to := message(cpus[0].OnIRQ(func() {}))
	q, msg, err := d.MapIRQ(dev, to)
	require.NoError(t, err)
	w, err := d.Notification(to)
	require.NoError(t, err)
	var left uint64
	m.Trace = func(now uint64, _ int, t *emu.Txn) {
		if t.Req.Type != emu.Job && t.Act.Op == emu.OpDone {
			left = now
		}
	}
	player := dma.NewPlayer(m, dma.Config{Outstanding: 1}, dma.NewQueue(1), nil)
	latency := func() uint64 {
		start := m.Now()
		player.Interrupt(ofDevice(msg))
		cpus[0].Compute(10_000)
		return left - start
	}
	warm := p.Link + p.Lookup + p.Probe
	cold := warm + p.Mem + p.Fill
	require.Equal(t, cold, latency())
	require.Equal(t, warm, latency())
	require.NoError(t, d.PostIRQ(q, 0, descriptor, 0x41, false))
	for _, c := range []struct {
		control uint64
		want    uint64
	}{
		{w, cold + 3*p.Mem + p.Follow},     // cold, with a notification
		{w, warm + 3*p.Mem + p.Follow},     // with a notification
		{w | 1, warm + 2*p.Mem + p.Follow}, // one is outstanding
		{w | 2, warm + 2*p.Mem + p.Follow}, // suppressed
	} {
		cpus[0].Store64(descriptor+32, c.control)
		cpus[0].Fence()
		require.Equal(t, c.want, latency())
	}
}
