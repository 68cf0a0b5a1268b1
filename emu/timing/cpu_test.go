package timing

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/clock"
)

// Stores and register writes of a processor are posted in order: no fence is needed between what is
// written for the unit and the doorbell.
func TestCPU_RegisterWriteArrivesBehindEarlierStores(t *testing.T) {
	p := params()
	p.Host.Drain = 5000 // much longer than the register write takes
	b := newBench(p, tlb)
	var v [4]uint64
	b.u.written = func() { b.Memory().Load(0x5000, 8, &v) }
	b.cpu.Store64(0x5000, 7)
	b.cpu.WriteReg(0, 8, 8, 1)
	b.drain()
	require.EqualValues(t, 7, v[0])
}

func TestCPU_RandomStreamIsNamedByNumber(t *testing.T) {
	m := newBench(params(), tlb)
	for len(m.cpus) < 11 {
		m.AddCPU(1)
	}
	require.Equal(t, clock.NewStream(1, "cpu10").Uint64(), m.Processor(10).random.Uint64())
}

// storm sends an interrupt message every so many cycles.
type storm struct {
	counter
	m    *Machine
	dev  int
	data uint32
	left int
}

func (s *storm) Timer(uint32) {
	if s.left--; s.left > 0 {
		s.m.sendMSI(emu.MSIAddress, s.data)
		s.m.Timer(s.dev, s.m.Now()+500, 0)
	}
}

// Interrupts that come faster than they are handled slow the program down and do not stop it.
func TestInterrupt_StormLetsTheProgramGoOn(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	s := &storm{m: b.Machine, left: 1000}
	s.dev = b.AddClient(s)
	handled := 0
	_, s.data = b.cpu.OnIRQ(func() { handled++ })
	b.Timer(s.dev, 0, 0)
	b.cpu.Compute(p.MSI) // one has arrived
	require.Equal(t, 1, handled)
	b.cpu.Compute(0) // 1009 cycles on: two more have, and are pending as one
	require.Equal(t, 2, handled)
	// The program goes on, and the last message is not lost.
	require.True(t, b.cpu.Poll(func() bool { return s.left <= 0 }, 10_000_000))
	b.cpu.Compute(2 * p.MSI)
	b.cpu.Compute(0)
	require.Empty(t, b.cpu.queue)
	require.InDelta(t, 500*1000/p.Host.IRQ, handled, 20, "one handler after the other")
	require.Less(t, b.cpu.Now(), uint64(600_000))
}

// Interrupts that wait behind a batch are work under way: Poll does not give up.
func TestPoll_SeesInterruptsThatWait(t *testing.T) {
	b := newBench(params(), tlb)
	n := 0
	_, data := b.cpu.OnIRQ(func() {
		if n++; n == 1 {
			b.interrupt(0) // arrives while the handler runs
		}
	})
	b.sendMSI(emu.MSIAddress, data)
	require.True(t, b.cpu.Poll(func() bool { return n == 2 }, 1_000_000))
	require.Less(t, b.cpu.Now(), uint64(10_000))
}

// Between two times that the processor has granted, work is not done ahead of its time: what happens
// to memory in between is seen.
func TestHorizon_NothingIsReadPastTheGrantedTime(t *testing.T) {
	p := params()
	b := newBench(p, tlb)
	b.request(0, 1)
	fetched := p.Link + p.Lookup + p.Probe + p.Mem
	b.RunUntil(fetched - 1)
	require.Equal(t, fetched-1, b.Now())
	require.Len(t, b.c.done, 0)
	b.Memory().Store(toyTable+8, 8, &[4]uint64{0x2222_2001})
	b.drain()
	require.Equal(t, emu.PA(0x2222_2000), b.c.pas[0])

	b = newBench(p, tlb)
	b.RunUntil(100)
	require.True(t, b.inline(100))
	require.False(t, b.inline(101))
	require.EqualValues(t, 100, b.Now())
	b.at(150, prioHardware, evTimer, 0, 0)
	b.limit = 200
	require.True(t, b.inline(149))
	require.False(t, b.inline(150), "an event of that cycle comes first")
}

// What may fall between two stores of a program does not fall between those of a handler: it runs with
// interrupts off.
func TestSplits_NotInHandlers(t *testing.T) {
	p := params()
	p.Host.SplitPerMil, p.Host.Split = 1000, 5000
	b := newBench(p, tlb)
	c := b.cpu
	ran := false
	addr, data := c.OnIRQ(func() {
		before := c.Now()
		c.Store64(0x5000, 1)
		c.Store64(0x5008, 1)
		require.Less(t, c.Now()-before, p.Host.Split)
		ran = true
	})
	c.WriteReg(0, 8, 8, uint64(addr))
	c.WriteReg(0, 16, 8, uint64(data))
	c.WriteReg(0, 0, 8, 5) // the message comes at the end of the invalidation
	c.Splits(true)
	require.True(t, c.Poll(func() bool { return ran }, 100_000))
	require.Zero(t, c.Stats().Splits)
	c.Store64(0x5010, 1)
	require.EqualValues(t, 1, c.Stats().Splits)
}
