package timing

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/iotlb"
)

// params has a different prime for each latency, so that a sum tells what it is made of.
func params() Params {
	return Params{
		ClockMHz: 1000,
		Link:     101, Ingress: 2, Lookup: 3, Probe: 5, Fill: 7, Walkers: 2, MissRegisters: 4,
		Mem: 211, MemInterval: 11, Follow: 13, Data: 307, Command: 401, Queue: 17, Fault: 19, Step: 1,
		Invalidate: 23, MSI: 503, ATSRound: 601, ATSTimeout: 7001, MaxPayload: 256, MaxRead: 512, UnknownLength: 64,
		Host: HostParams{
			Store: 1, Drain: 29, Buffer: 4, Load: 2, Locked: 31, ReadReg: 600, WriteReg: 201, WriteIssue: 37,
			Poll: 41, FlushLine: 43, IRQ: 1009, Gap: 0,
		},
	}
}

// client records its completions.
type client struct {
	log  []string
	done []Completion
	pas  []emu.PA
}

func (c *client) Complete(r *Completion) {
	c.done = append(c.done, *r)
	c.pas = append(c.pas, r.Result.PA)
	c.log = append(c.log, fmt.Sprintf("%d tag %d pa %#x status %d read %d", r.Done, r.Tag, r.Result.PA, r.Result.Status, r.Read))
}
func (c *client) Timer(uint32)                 {}
func (c *client) Save(*emu.Encoder)            {}
func (c *client) Restore(d *emu.Decoder) error { return d.Err() }

type bench struct {
	*Machine
	u   *toy
	cpu *CPU
	c   *client
	dev int
}

func newBench(p Params, g iotlb.Geometry) *bench {
	b := &bench{Machine: New(p, mem.New()), u: newToy(g), c: &client{}}
	b.AddUnit(b.u, 64)
	b.cpu = b.AddCPU(1)
	b.dev = b.AddClient(b.c)
	for i := range emu.PA(64) {
		b.Memory().Store(toyTable+i*8, 8, &[4]uint64{uint64(i)<<12 | 0x1000_0001})
	}
	return b
}

func (b *bench) request(tag uint32, page int) {
	b.Issue(b.dev, 0, tag, &emu.Request{Addr: emu.IOVA(page) << 12, PASID: emu.NoPASID, Len: 64, Access: emu.Read})
}

func (b *bench) drain() {
	for b.Step() {
	}
}

var tlb = iotlb.Geometry{Sets: 4, Ways: 4}

func TestRequest_ColdAndWarmToTheCycle(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	b.request(0, 1)
	b.drain()
	cold := p.Link + p.Lookup + p.Probe + p.Mem + p.Fill + p.Data + p.Link
	require.Equal(t, cold, b.c.done[0].Done)
	start := b.Now()
	b.request(1, 1)
	b.drain()
	require.Equal(t, p.Link+p.Lookup+p.Data+p.Link, b.c.done[1].Done-start)
	require.Equal(t, emu.PA(0x1000_1000), b.c.pas[1])
	require.Equal(t, UnitStats{
		Cache:       b.UnitStats(0).Cache,
		Walks:       1,
		MemoryReads: 1,
	}, b.UnitStats(0))
}

func TestRequest_MergedWaitsForTheOwnersFillOnly(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	b.request(0, 1)
	b.request(1, 1)
	b.drain()
	require.EqualValues(t, 1, b.UnitStats(0).Walks)
	require.EqualValues(t, 1, b.UnitStats(0).Merged)
	require.Equal(t, b.c.done[0].Done, b.c.done[1].Done, "the fill hands its value on")
}

func TestRequest_WalkerLimit(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	for i := range 5 {
		b.request(uint32(i), i)
	}
	b.drain()
	hold := p.Mem + p.Fill // what a walk keeps its walker for
	var got []uint64
	for _, d := range b.c.done {
		got = append(got, d.Done-b.c.done[0].Done)
	}
	// Requests 0 and 1 begin as they arrive; the others as walkers come free. The second of each pair
	// is behind by the ingress, until the memory port separates them further.
	second := max(p.Ingress, p.MemInterval)
	require.Equal(t, []uint64{0, second, hold, hold + second, 2 * hold}, got)
}

func TestRequest_MissRegistersFullLookAgain(t *testing.T) {
	p := params()
	p.MissRegisters = 1
	b := newBench(p, tlb)
	for i := range 6 {
		b.request(uint32(i), i%2)
	}
	b.drain()
	require.Len(t, b.c.done, 6)
	require.LessOrEqual(t, b.UnitStats(0).Walks, uint64(6))
	for i, d := range b.c.done {
		require.Equal(t, emu.PA(0x1000_0000+uint64(d.Tag%2)<<12), b.c.pas[i])
	}
}

// Misses are served first come, first served, at whatever cycle the last one comes: a device whose
// requests came back in step with the walks could otherwise keep the others waiting for ever, and a
// drain with them.
func TestRequest_NoneOvertakesThoseThatWait(t *testing.T) {
	for _, c := range []struct {
		name      string
		page      func(i uint32) int
		absent    bool
		registers int
	}{
		{"for an owner that faults and has nothing to hand on", func(uint32) int { return 1 }, true, 4},
		{"for a register", func(i uint32) int { return int(i) }, false, 1},
	} {
		p := params()
		p.MissRegisters = c.registers
		for late := range p.Mem {
			b := newBench(p, tlb)
			if c.absent {
				b.Memory().Store(toyTable+8, 8, &[4]uint64{})
			}
			for i := range uint32(3) {
				b.request(i, c.page(i))
			}
			b.RunUntil(p.Mem + late)
			b.request(3, c.page(3))
			b.drain()
			var got []uint32
			for _, c := range b.c.done {
				got = append(got, c.Tag)
			}
			require.Equal(t, []uint32{0, 1, 2, 3}, got, "%s: the last one %d cycles later", c.name, late)
			require.EqualValues(t, 4, b.UnitStats(0).Walks)
			for i := range 3 {
				require.GreaterOrEqual(t, b.c.done[i+1].Done-b.c.done[i].Done, p.Mem)
			}
		}
	}
}

func TestInvalidate_MarksWhatIsInFlightAndWaitsForIt(t *testing.T) {
	for _, g := range []iotlb.Geometry{tlb, {}} { // with the cache and without
		p := params()
		b := newBench(p, g)
		b.cpu.WriteReg(0, 0, 8, 1) // arrives at 37+201
		b.request(0, 1)            // memory is read at 101+3+5+211
		b.Memory().Store(toyStatus, 8, &[4]uint64{99})
		ok := b.cpu.Poll(func() bool { return b.cpu.Load64(toyStatus) == 1 }, 100_000)
		require.True(t, ok)
		require.Len(t, b.c.done, 1)
		translated := b.c.done[0].Done - p.Link // data visible
		require.GreaterOrEqual(t, b.cpu.Now(), translated+p.Mem, "the status write comes after the data")
		b.request(1, 1)
		b.drain()
		require.EqualValues(t, 2, b.UnitStats(0).Walks, "the marked request's fill was dropped")
	}
}

func TestInvalidate_NoMergeWithAMarkedOwner(t *testing.T) {
	p := params()
	p.Mem = 2000 // the walk is long
	b := newBench(p, tlb)
	b.request(0, 1)
	b.RunUntil(150) // under way
	b.cpu.WriteReg(0, 0, 8, 1)
	b.RunUntil(600) // the invalidation has marked it
	b.request(1, 1)
	b.drain()
	require.EqualValues(t, 2, b.UnitStats(0).Walks)
	require.EqualValues(t, 0, b.UnitStats(0).Merged)
}

func TestEngine_WokenWhileRunningRunsAgain(t *testing.T) {
	b := newBench(params(), tlb)
	for page := range uint64(3) {
		b.cpu.WriteReg(0, 0, 8, page)
	}
	b.drain()
	require.GreaterOrEqual(t, b.u.jobs, 2)
	require.EqualValues(t, 2, b.cpu.Load64(toyStatus))
}

func TestInterrupt_ComesAfterTheStatusWrite(t *testing.T) {
	b := newBench(params(), tlb)
	var at []uint64
	addr, data := b.cpu.OnIRQ(func() {
		require.EqualValues(t, 5, b.cpu.Load64(toyStatus))
		at = append(at, b.cpu.Now())
	})
	b.cpu.WriteReg(0, 8, 8, uint64(addr))
	b.cpu.WriteReg(0, 16, 8, uint64(data))
	b.cpu.WriteReg(0, 0, 8, 5)
	require.True(t, b.cpu.Poll(func() bool { return len(at) > 0 }, 10_000))
	require.Len(t, at, 1)
}

func TestCPU_StoreBuffer(t *testing.T) {
	b := newBench(params(), tlb)
	c := b.cpu
	pa := emu.PA(0x5000)
	var v [4]uint64
	peek := func() uint64 { b.Memory().Load(pa, 8, &v); return v[0] }
	c.Store64(pa, 7)
	require.EqualValues(t, 7, c.Load64(pa), "own stores are seen at once")
	require.EqualValues(t, 0, peek(), "others see them later")
	c.Fence()
	require.EqualValues(t, 7, peek())
	c.Store128(pa, 8, 9)
	require.EqualValues(t, 9, c.Load64(pa+8))
	require.True(t, c.CAS64(pa, 8, 10), "a locked operation waits for the buffer")
	require.EqualValues(t, 10, peek())
	for i := range uint64(50) { // more than the buffer holds
		c.Store64(pa, i)
	}
	c.Fence()
	require.EqualValues(t, 49, peek())
	require.False(t, c.CAS128(pa, [2]uint64{1, 1}, [2]uint64{2, 2}))
	require.True(t, c.CAS128(pa, [2]uint64{49, 9}, [2]uint64{2, 2}))
}

func TestCPU_WeakOrderKeepsFencesAndSameAddress(t *testing.T) {
	p := params()
	p.Host.Order, p.Host.DrainSpread, p.Host.Buffer = WeakOrder, 1000, 16
	m := mem.New()
	b := New(p, m)
	c := b.AddCPU(3)
	var order []emu.PA
	m.Watch(0x8000, 0x8fff, func(pa emu.PA, _ uint8) { order = append(order, pa) })
	reordered := false
	for range 20 {
		order = order[:0]
		c.Store64(0x8000, 1)
		c.Store64(0x8008, 1)
		c.Store64(0x8000, 2)
		c.Fence()
		c.Store64(0x8010, 1)
		c.Fence()
		require.Len(t, order, 4)
		require.Equal(t, emu.PA(0x8010), order[3])
		reordered = reordered || order[0] == 0x8008
		require.EqualValues(t, 2, c.Load64(0x8000))
	}
	require.True(t, reordered, "stores between fences do pass each other")
}

func TestRunCPUs_SmallestTimeGoesNext(t *testing.T) {
	run := func() []string {
		b := newBench(params(), tlb)
		c2 := b.AddCPU(1)
		var log []string
		prog := func(name string, step uint64) func(*CPU) {
			return func(c *CPU) {
				for range 4 {
					c.Compute(step)
					log = append(log, fmt.Sprintf("%s@%d", name, c.Now()))
				}
			}
		}
		b.RunCPUs(map[*CPU]func(*CPU){b.cpu: prog("a", 10), c2: prog("b", 25)})
		return log
	}
	want := []string{"a@10", "a@20", "b@25", "a@30", "a@40", "b@50", "b@75", "b@100"}
	require.Equal(t, want, run())
}

func TestCheckpoint_RestoreEqualsGoingOn(t *testing.T) {
	script := func(b *bench) {
		for i := range 12 {
			b.request(uint32(i), i%5)
		}
		b.u.gap = 150
		b.cpu.WriteReg(0, 0, 8, 2)
		b.cpu.WriteReg(0, 24, 8, 3)
		b.cpu.Store64(toyTable+3*8, 0x7777_7001)
	}
	whole := newBench(params(), tlb)
	script(whole)
	whole.drain()
	for cut := uint64(0); cut < whole.Now(); cut += 37 {
		a := newBench(params(), tlb)
		script(a)
		a.RunUntil(cut)
		var e emu.Encoder
		a.Save(&e)
		r := newBench(params(), tlb)
		r.u.gap = a.u.gap
		require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
		r.c.log = append(r.c.log, a.c.log...)
		r.drain()
		require.Equal(t, whole.c.log, r.c.log, "checkpoint at cycle %d", cut)
		require.Equal(t, whole.Now(), r.Now(), "the last to end are the engines, checkpoint at cycle %d", cut)
		require.Equal(t, []uint64{2, 3}, []uint64{r.cpu.Load64(toyStatus), r.cpu.Load64(toyStatus + 8)})
		require.Equal(t, whole.UnitStats(0), r.UnitStats(0))
	}
}

func TestCheckpoint_DamagedIsAnError(t *testing.T) {
	b := newBench(params(), tlb)
	b.request(0, 1)
	b.RunUntil(200)
	var e emu.Encoder
	b.Save(&e)
	for n := 0; n < len(e.Bytes()); n += 101 {
		r := newBench(params(), tlb)
		require.ErrorIs(t, r.Restore(emu.NewDecoder(e.Bytes()[:n])), emu.ErrState, "cut at %d", n)
	}
}

func TestHotPath_AllocatesNothing(t *testing.T) {
	b := newBench(params(), tlb)
	b.c = &client{}
	quiet := &counter{}
	b.dev = b.AddClient(quiet)
	page := 0
	run := func() {
		page++
		b.request(0, page%32) // hits and misses with evictions
		b.drain()
	}
	for range 100 {
		run()
	}
	require.Zero(t, testing.AllocsPerRun(200, run))
}

func TestHotPath_InvalidationAndDrainAllocateNothing(t *testing.T) {
	b := newBench(params(), tlb)
	b.dev = b.AddClient(&counter{})
	b.u.ats = 1
	waits := 0
	run := func() {
		now := b.Now()
		b.request(0, 1)
		b.bell(now+200, 0, 1)
		b.bell(now+230, 1, 1)
		for b.Step() {
			if b.ports[0].drains[0].Left > 0 && b.ports[0].drains[1].Left > 0 {
				waits++
			}
		}
	}
	run()
	require.Zero(t, testing.AllocsPerRun(200, run))
	require.GreaterOrEqual(t, waits, 200)
}

type counter struct{ n int }

func (c *counter) Complete(*Completion)         { c.n++ }
func (c *counter) Timer(uint32)                 {}
func (c *counter) Save(*emu.Encoder)            {}
func (c *counter) Restore(d *emu.Decoder) error { return d.Err() }

// Several units in one machine share memory, clock and processors, and nothing else.
func TestMachine_SeveralUnits(t *testing.T) {
	b := newBench(params(), tlb)
	second := newToy(tlb)
	other := b.AddUnit(second, 16)
	for i := range uint32(8) {
		b.request(i, int(i))
		b.Issue(b.dev, other, 100+i, &emu.Request{Addr: emu.IOVA(i) << 12, Source: 1 << 20, PASID: emu.MaxPASID, Len: 64, Access: emu.Read})
	}
	b.cpu.WriteReg(other, 0, 8, 3)
	b.drain()
	require.Len(t, b.c.done, 16)
	require.EqualValues(t, 8, b.UnitStats(0).Walks)
	require.EqualValues(t, 8, b.UnitStats(other).Walks)
	require.EqualValues(t, 0, b.UnitStats(0).Invalidations)
	require.EqualValues(t, 1, b.UnitStats(other).Invalidations)
}
