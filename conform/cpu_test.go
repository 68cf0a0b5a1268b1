package conform_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

// scripted is a peer with 64 KiB of memory at 1 MiB that fails when it is told to.
type scripted struct {
	ram      [0x1_0000]byte
	regs     map[uint32]uint64
	messages []conform.Message
	calls    int
	failAt   int // number of the call that fails; 0: none
	stepped  []uint64
	onWrite  func(off uint32)
}

var errBroken = errors.New("broken")

func (s *scripted) call() error {
	if s.calls++; s.failAt != 0 && s.calls >= s.failAt {
		return errBroken
	}
	return nil
}

const base = 0x10_0000

func (s *scripted) Name() string { return "scripted" }
func (s *scripted) Reset() error { return s.call() }
func (s *scripted) ReadReg(off uint32, _ uint8) (uint64, error) {
	return s.regs[off], s.call()
}
func (s *scripted) WriteReg(off uint32, _ uint8, v uint64) error {
	s.regs[off] = v
	if s.onWrite != nil {
		s.onWrite(off)
	}
	return s.call()
}
func (s *scripted) Read(pa emu.PA, b []byte) error {
	copy(b, s.ram[pa-base:])
	return s.call()
}
func (s *scripted) Write(pa emu.PA, b []byte) error {
	copy(s.ram[pa-base:], b)
	return s.call()
}
func (s *scripted) DMA(*conform.DMA) (conform.Outcome, error) { return conform.Outcome{}, s.call() }
func (s *scripted) Messages() ([]conform.Message, error) {
	list := s.messages
	s.messages = nil
	return list, s.call()
}
func (s *scripted) Step(ns uint64) error {
	s.stepped = append(s.stepped, ns)
	return s.call()
}
func (s *scripted) Machine() conform.Machine {
	return conform.Machine{RAM: base, Size: uint64(len(s.ram))}
}
func (s *scripted) Close() error { return nil }

func newCPU() (*conform.CPU, *scripted) {
	s := &scripted{regs: map[uint32]uint64{}}
	return conform.NewCPU(s), s
}

func TestCPU_Memory(t *testing.T) {
	c, _ := newCPU()
	c.Store64(base, 1)
	c.Store128(base+16, 2, 3)
	require.Equal(t, []uint64{1, 0, 2, 3}, []uint64{c.Load64(base), c.Load64(base + 8), c.Load64(base + 16), c.Load64(base + 24)})

	require.False(t, c.CAS64(base, 2, 9))
	require.EqualValues(t, 1, c.Load64(base))
	require.True(t, c.CAS64(base, 1, 9))
	require.EqualValues(t, 9, c.Load64(base))
	for _, old := range [][2]uint64{{2, 4}, {1, 3}} {
		require.False(t, c.CAS128(base+16, old, [2]uint64{7, 8}))
	}
	require.True(t, c.CAS128(base+16, [2]uint64{2, 3}, [2]uint64{7, 8}))
	require.Equal(t, []uint64{7, 8}, []uint64{c.Load64(base + 16), c.Load64(base + 24)})

	for pa := emu.PA(base); pa < base+0x4000; pa += 8 {
		c.Store64(pa, ^uint64(0)>>1)
	}
	c.Zero(base+0x40, 0x2040)
	for pa := emu.PA(base); pa < base+0x4000; pa += 8 {
		want := ^uint64(0) >> 1
		if pa >= base+0x40 && pa < base+0x2080 {
			want = 0
		}
		require.Equal(t, want, c.Load64(pa), "%#x", uint64(pa))
	}
	require.NoError(t, c.Err())
}

func TestCPU_BusErrorsReadAsOnesAndAreDropped(t *testing.T) {
	c, _ := newCPU()
	for _, pa := range []emu.PA{0, base - 8, base + 0x1_0000, base + 0xfffc, 1 << 60, ^emu.PA(7)} {
		c.Store64(pa, 5)
		require.Equal(t, ^uint64(0), c.Load64(pa), "%#x", uint64(pa))
		require.False(t, c.CAS64(pa, ^uint64(0), 0))
	}
	require.NoError(t, c.Err())
}

func TestCPU_PollEndsAtItsLimitWithFewLooks(t *testing.T) {
	c, s := newCPU()
	looks := 0
	require.False(t, c.Poll(func() bool { looks++; return false }, 100_000_000))
	require.EqualValues(t, 100_000_000, c.Now())
	require.Less(t, looks, 30)
	sum := uint64(0)
	for _, n := range s.stepped {
		sum += n
	}
	require.EqualValues(t, 100_000_000, sum)

	looks = 0
	require.True(t, c.Poll(func() bool { looks++; return looks == 5 }, 100_000_000))
	require.Equal(t, 5, looks)
	require.False(t, c.Poll(func() bool { return false }, 0))
	require.NoError(t, c.Err())
}

func TestCPU_HandlersRunOnceAndNotWithinThemselves(t *testing.T) {
	c, s := newCPU()
	var got []string
	depth := 0
	handler := func(name string) func() {
		return func() {
			depth++
			require.Equal(t, 1, depth)
			got = append(got, name)
			c.ReadReg(0, 4, 4)
			depth--
		}
	}
	addr, first := c.OnIRQ(handler("first"))
	_, second := c.OnIRQ(handler("second"))
	require.NotEqual(t, first, second)
	var others []conform.Message
	c.Unclaimed = func(m conform.Message) { others = append(others, m) }

	s.messages = []conform.Message{{Addr: addr, Data: second}, {Addr: addr, Data: 7}, {Addr: addr + 4, Data: first}, {Addr: addr, Data: first}}
	c.Load64(base)
	require.Equal(t, []string{"second", "first"}, got)
	require.Equal(t, []conform.Message{{Addr: addr, Data: 7}, {Addr: addr + 4, Data: first}}, others)
	c.Load64(base)
	require.Len(t, got, 2)

	s.onWrite = func(uint32) { s.messages = append(s.messages, conform.Message{Addr: addr, Data: first}) }
	c.WriteReg(0, 8, 4, 1)
	require.Equal(t, []string{"second", "first", "first"}, got, "at the end of the write that caused it")
}

// Wherever the peer fails: the processor keeps the error, says nothing more to the peer, and comes to an
// end.
func TestCPU_IsInertAfterAnError(t *testing.T) {
	for failAt := 1; failAt < 40; failAt++ {
		c, s := newCPU()
		s.failAt = failAt
		use := func() {
			c.Store64(base, 1)
			c.Store128(base+16, 1, 2)
			c.Zero(base, 64)
			c.CAS64(base, 0, 1)
			c.CAS128(base+16, [2]uint64{}, [2]uint64{1, 1})
			c.WriteReg(0, 0, 4, 1)
			c.Fence()
			c.Flush(base, 64)
			c.Compute(5)
			c.Poll(func() bool { return c.ReadReg(0, 0, 4) == 77 }, 1000)
		}
		for c.Err() == nil {
			use()
		}
		require.ErrorIs(t, c.Err(), errBroken)
		require.Equal(t, failAt, s.calls)
		use()
		require.Equal(t, failAt, s.calls, "nothing more is asked")
		require.Zero(t, c.ReadReg(0, 0, 4))
		require.Zero(t, c.Load64(base))
		require.False(t, c.CAS64(base, 0, 0))
		require.False(t, c.Poll(func() bool { return true }, 1000))
		now := c.Now()
		c.Compute(1)
		require.Equal(t, now, c.Now())
	}
}

func TestCPU_HasOneUnit(t *testing.T) {
	c, _ := newCPU()
	require.Zero(t, c.ReadReg(1, 0, 4))
	require.ErrorContains(t, c.Err(), "unit 1")
}

func TestTags_AreDistinct(t *testing.T) {
	seen := map[[8]byte]bool{{}: true}
	for i := range conform.Tags {
		require.False(t, seen[conform.Tag(i)], i)
		seen[conform.Tag(i)] = true
	}
}
