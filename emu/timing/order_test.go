package timing

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// write issues a posted write to a page, message an interrupt message.
func (b *bench) write(dev int, tag uint32, page int) {
	b.Issue(dev, 0, tag, &emu.Request{Addr: emu.IOVA(page) << 12, PASID: emu.NoPASID, Len: 64, Access: emu.Write})
}

func (b *bench) message(dev int, tag uint32, addr emu.PA, data uint32) {
	b.Issue(dev, 0, tag, &emu.Request{Addr: emu.IOVA(addr), PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: data})
}

// handlers registers n handlers on c and returns the data of the first one's message.
func (b *bench) handlers(c *CPU, n int) uint32 {
	first := uint32(emu.FirstVector + len(c.vectors))
	for range n {
		c.OnIRQ(func() {})
	}
	return first
}

// arrivals runs everything and returns which message arrived when, before any handler runs.
func (b *bench) arrivals() (at []string) {
	for {
		for _, c := range b.cpus {
			for _, i := range c.queue {
				at = append(at, fmt.Sprintf("cpu %d message %d at %d", c.id, i, b.now))
			}
			c.queue = c.queue[:0]
		}
		if !b.Step() {
			return at
		}
	}
}

func TestMessage_ArrivesAfterTheUnitAndItsOwnLatency(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	data := b.handlers(b.cpu, 2)
	b.message(b.dev, 0, emu.MSIAddress, data+1)
	require.Equal(t, []string{fmt.Sprintf("cpu 0 message 1 at %d", p.Link+p.Lookup+p.MSI)}, b.arrivals())
	require.Equal(t, emu.Interrupt, b.c.done[0].Result.Status)
	require.Equal(t, 2*p.Link+p.Lookup, b.c.done[0].Done, "the device does not wait for the processor")
}

// A message does not pass earlier posted writes of its device, whatever these wait for, and passes
// everything else.
func TestMessage_StaysBehindEarlierWritesOfItsDevice(t *testing.T) {
	p := params()
	hit := p.Link + p.Lookup + p.Data // issue to visible
	miss := hit + p.Probe + p.Mem + p.Fill
	late := p.Link + p.Lookup + p.Ingress       // tag read of the second request
	walk := p.Link + p.Lookup + p.Probe + p.Mem // a walk that finds nothing
	for _, c := range []struct {
		name string
		do   func(b *bench, other int)
		want uint64 // when the message leaves the unit
	}{
		{"a write that misses", func(b *bench, _ int) { b.write(b.dev, 0, 1) }, miss},
		{"a write that hits", func(b *bench, _ int) { b.write(b.dev, 0, 9) }, hit},
		{"a write that is blocked", func(b *bench, _ int) { b.write(b.dev, 0, 70) }, walk},
		{"two writes, the first slower", func(b *bench, _ int) { b.write(b.dev, 0, 1); b.write(b.dev, 1, 9) }, miss},
		{"a read", func(b *bench, _ int) { b.request(0, 1) }, late},
		{"a write of another device", func(b *bench, other int) { b.write(other, 0, 1) }, late},
		{"an AtomicOp", func(b *bench, _ int) {
			b.Issue(b.dev, 0, 0, &emu.Request{Addr: 0x1000, PASID: emu.NoPASID, Len: 8, Access: emu.RW | emu.Atomic})
		}, late},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(p, tlb)
			other := b.AddClient(&client{})
			data := b.handlers(b.cpu, 1)
			b.request(99, 9)
			b.drain() // page 9 is cached
			start := b.Now()
			c.do(b, other)
			b.message(b.dev, 7, emu.MSIAddress, data)
			b.write(b.dev, 8, 2) // later ones do not matter
			require.Equal(t, []string{fmt.Sprintf("cpu 0 message 0 at %d", start+c.want+p.MSI)}, b.arrivals())
		})
	}
	// Messages are posted writes themselves: a second one is not faster than the first.
	b := newBench(p, tlb)
	data := b.handlers(b.cpu, 3)
	b.write(b.dev, 0, 1)
	for i := range uint32(3) {
		b.message(b.dev, 1+i, emu.MSIAddress, data+i)
	}
	var want []string
	for i := range 3 {
		want = append(want, fmt.Sprintf("cpu 0 message %d at %d", i, miss+p.MSI))
	}
	require.Equal(t, want, b.arrivals())
}

func TestMessage_GoesToTheProcessorThatOwnsTheAddress(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	var to [18]emu.PA
	for i := range to {
		c := b.cpu
		if i > 0 {
			c = b.AddCPU(1)
		}
		b.handlers(c, i%2) // one handler more on odd processors
		var data uint32
		to[i], data = c.OnIRQ(func() {})
		require.EqualValues(t, emu.FirstVector+i%2, data)
		require.Equal(t, emu.MSITo(uint32(i)), to[i])
	}
	own := func(i int) uint32 { return uint32(emu.FirstVector + i%2) }
	for _, c := range []struct {
		name string
		addr emu.PA
		data uint32
		want []int // processors
	}{
		{"first", to[0], own(0), []int{0}},
		{"another", to[3], own(3), []int{3}},
		{"assert and level do not matter", to[3], own(3) | 0xc000, []int{3}},
		{"lowest priority", to[3], own(3) | 0x100, []int{3}},
		{"redirection hint", to[3] | 8, own(3), []int{3}},
		{"NMI has no handler", to[3], own(3) | 0x400, nil},
		{"a vector that is not registered", to[2], own(2) + 1, nil},
		{"a vector of exceptions", to[2], 2, nil},
		{"no such processor", emu.MSITo(40), own(0), nil},
		{"no such processor, extended", emu.MSITo(0x100), own(0), nil},
		{"remappable format", to[0] | 0x10, own(0), nil},
		{"reserved upper bits", to[0] | 1<<32, own(0), nil},
		{"elsewhere", 0x1000_0000, own(0), nil},
		{"a set", emu.MSITo(0b1010) | 4, own(1), []int{1, 3}},
		{"the first of a set", emu.MSITo(0b1010) | 12, own(1), []int{1}},
		{"a set of the second group", emu.MSITo(1<<16|0b10) | 4, own(17), []int{17}},
	} {
		b.message(b.dev, 0, c.addr, c.data)
		got := b.arrivals()
		require.Len(t, got, len(c.want), c.name)
		for i, cpu := range c.want {
			require.Contains(t, got[i], fmt.Sprintf("cpu %d ", cpu), c.name)
		}
	}
}

// More handlers than a processor has vectors still have messages of their own.
func TestMessage_ManyHandlers(t *testing.T) {
	b := newBench(params(), tlb)
	seen := map[uint32]bool{}
	for i := range 1000 {
		addr, data := b.cpu.OnIRQ(func() {})
		require.Equal(t, emu.MSIAddress, addr)
		require.False(t, seen[data])
		seen[data] = true
		k, ok := emu.MSIHandler(data, i+1)
		require.True(t, ok)
		require.Equal(t, i, k)
	}
}

// A drain of interrupts waits until those it concerns have arrived; one of DMA does not.
func TestDrain_OfInterruptsWaitsForTheirArrival(t *testing.T) {
	for _, c := range []struct {
		caches emu.CacheSet
		want   func(p *Params) uint64
	}{
		{emu.CacheInterrupt.Set(), func(p *Params) uint64 { return p.Link + p.Lookup + p.MSI + p.Mem }},
		{emu.CacheIOTLB.Set(), func(p *Params) uint64 { return 150 + p.Invalidate + p.Mem }},
	} {
		p := params()
		b := newBench(p, tlb)
		b.u.caches = c.caches
		at := b.statusTimes()
		b.message(b.dev, 0, emu.MSIAddress, 0)
		b.bell(150, 0, 1)
		b.drain()
		require.Equal(t, c.want(&p), at[0])
	}
	// One that is still behind a write is marked.
	p := params()
	b := newBench(p, tlb)
	b.u.caches = emu.CacheInterrupt.Set()
	at := b.statusTimes()
	b.write(b.dev, 0, 1)
	b.message(b.dev, 1, emu.MSIAddress, 0)
	b.bell(150, 0, 1)
	b.drain()
	require.Equal(t, p.Link+p.Lookup+p.Probe+p.Mem+p.Fill+p.Data+p.MSI+p.Mem, at[0])
}

func TestCheckpoint_MessagesThatWait(t *testing.T) {
	fresh := func() *bench {
		b := newBench(params(), tlb)
		b.handlers(b.cpu, 4)
		return b
	}
	script := func(b *bench) {
		for i := range uint32(4) {
			b.write(b.dev, 2*i, int(i))
			b.message(b.dev, 2*i+1, emu.MSIAddress, emu.FirstVector+i)
		}
	}
	whole := fresh()
	script(whole)
	want := whole.arrivals()
	require.Len(t, want, 4)
	for cut := uint64(0); cut < whole.Now(); cut += 41 {
		a := fresh()
		script(a)
		var got []string
		for a.wheel.Len() > 0 {
			if next, _ := a.wheel.NextTime(); next > cut {
				break
			}
			a.Step()
			for _, i := range a.cpu.queue {
				got = append(got, fmt.Sprintf("cpu 0 message %d at %d", i, a.now))
			}
			a.cpu.queue = a.cpu.queue[:0]
		}
		var e emu.Encoder
		a.Save(&e)
		r := fresh()
		require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
		require.Equal(t, want, append(got, r.arrivals()...), "checkpoint at cycle %d", cut)
	}
}

func TestHotPath_MessagesAllocateNothing(t *testing.T) {
	b := newBench(params(), tlb)
	b.handlers(b.cpu, 1)
	dev := b.AddClient(&counter{})
	page := 0
	run := func() {
		page++
		b.write(dev, 0, page%32)
		b.message(dev, 1, emu.MSIAddress, emu.FirstVector)
		b.drain()
		b.cpu.queue = b.cpu.queue[:0]
	}
	for range 100 {
		run()
	}
	require.Zero(t, testing.AllocsPerRun(200, run))
}
