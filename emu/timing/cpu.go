package timing

import (
	"strconv"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/clock"
)

// CPU is a processor of a machine; it implements host.CPU. Host code is ordinary Go code that calls
// it: each call lets the hardware run up to the processor's own time, takes effect, and costs
// cycles.
type CPU struct {
	m       *Machine
	id      uint32
	now     uint64
	buffer  []bufferedStore // ring of Params.Host.Buffer slots
	used    int             // slots in use
	drain   uint64          // cycle at which the last buffered store becomes visible
	posted  uint64          // cycle at which the last posted register write arrives
	writes  []postedWrite
	random  *clock.Stream
	vectors []uint32 // handlers of this processor, as indices of Machine.msi
	queue   []uint32 // interrupts that have arrived, likewise
	inIRQ   bool
	splits  bool // interrupts may fall between stores
	yield   func(struct{}) bool
	running bool // RunCPUs has a program on it that has not ended

	stats CPUStats
}

// CPUStats counts what host code did.
type CPUStats struct {
	Stores         uint64
	RegisterReads  uint64
	RegisterWrites uint64
	Interrupts     uint64
	Splits         uint64 // stores that an interrupt was in front of
}

type bufferedStore struct {
	Addr emu.PA
	At   uint64 // cycle at which it becomes visible
	Seq  uint64 // order of issue
	Data [2]uint64
	Size uint8 // 0: the slot is free
}

type postedWrite struct {
	Unit  uint32
	Off   uint32
	Size  uint8
	Used  bool
	Value uint64
}

// AddCPU attaches a processor. seed and the processor's number determine its random stream.
func (m *Machine) AddCPU(seed uint64) *CPU {
	c := &CPU{
		m: m, id: uint32(len(m.cpus)),
		buffer: make([]bufferedStore, max(m.Params.Host.Buffer, 1)),
		random: clock.NewStream(seed, "cpu"+strconv.Itoa(len(m.cpus))),
	}
	m.cpus = append(m.cpus, c)
	return c
}

// Splits turns the seeded chance of an interrupt in front of each store on or off; handlers are not
// interrupted. It belongs to the lab, which turns it on for the code under test; it is off at first.
func (c *CPU) Splits(on bool) { c.splits = on }

// Stats returns the counters.
func (c *CPU) Stats() CPUStats { return c.stats }

// Now returns the processor's time in cycles.
func (c *CPU) Now() uint64 { return c.now }

// sync brings the hardware up to the processor's time and runs the handlers of interrupts that
// have arrived. Those that arrive while handlers run wait for the next call, so that the program gets
// on however many there are.
func (c *CPU) sync() {
	if c.yield != nil && c.m.earlier(c) {
		c.yield(struct{}{})
	}
	c.m.RunUntil(c.now)
	c.now = c.m.now
	if c.inIRQ {
		return
	}
	for n := len(c.queue); n > 0; n-- {
		h := c.m.msi[c.queue[0]].handler
		c.queue = append(c.queue[:0], c.queue[1:]...)
		c.inIRQ = true
		c.stats.Interrupts++
		c.now += c.m.Params.Host.IRQ
		h()
		c.inIRQ = false
		c.m.RunUntil(c.now)
		c.now = c.m.now
	}
}

// Compute lets cycles pass.
func (c *CPU) Compute(cycles uint64) {
	c.now += cycles
	c.sync()
}

// Load64 reads 8 bytes, own buffered stores first.
func (c *CPU) Load64(pa emu.PA) uint64 {
	c.sync()
	c.now += c.m.Params.Host.Load
	var v [4]uint64
	if !c.m.mem.Load(pa, 8, &v) {
		v[0] = ^uint64(0)
	}
	// The youngest buffered store to the word wins.
	var youngest uint64
	for i := range c.buffer {
		s := &c.buffer[i]
		if s.Size == 0 || pa < s.Addr || pa >= s.Addr+emu.PA(s.Size) || s.Seq < youngest {
			continue
		}
		youngest = s.Seq
		v[0] = s.Data[(pa-s.Addr)/8]
	}
	return v[0]
}

// Store64 writes 8 bytes.
func (c *CPU) Store64(pa emu.PA, v uint64) { c.store(pa, 8, [2]uint64{v}) }

// Store128 writes 16 bytes at once.
func (c *CPU) Store128(pa emu.PA, lo, hi uint64) { c.store(pa, 16, [2]uint64{lo, hi}) }

func (c *CPU) store(pa emu.PA, size uint8, v [2]uint64) {
	h := &c.m.Params.Host
	c.now += h.Gap
	if c.splits && !c.inIRQ && c.random.Uint64()%1000 < h.SplitPerMil {
		c.stats.Splits++
		c.now += h.Split
	}
	c.sync()
	for c.used == len(c.buffer) {
		c.now = max(c.now, c.oldest())
		c.sync()
	}
	c.stats.Stores++
	c.now += h.Store
	at := max(c.now+h.Drain, c.drain)
	if h.Order == WeakOrder && h.DrainSpread > 0 {
		at = max(c.now+h.Drain+c.random.Uint64()%h.DrainSpread, c.sameAddress(pa, size))
	}
	c.drain = max(c.drain, at)
	for i := range c.buffer {
		if c.buffer[i].Size == 0 {
			c.buffer[i] = bufferedStore{Addr: pa, At: at, Seq: c.stats.Stores, Data: v, Size: size}
			c.used++
			c.m.at(at, prioProcessor, evStore, c.id, uint32(i))
			return
		}
	}
}

// oldest returns the earliest cycle at which a buffered store becomes visible.
func (c *CPU) oldest() uint64 {
	at := ^uint64(0)
	for i := range c.buffer {
		if c.buffer[i].Size != 0 {
			at = min(at, c.buffer[i].At)
		}
	}
	return at
}

// sameAddress returns the cycle before which a store to pa may not become visible: stores of one
// processor to the same place stay in order whatever the memory model.
func (c *CPU) sameAddress(pa emu.PA, size uint8) uint64 {
	at := uint64(0)
	for i := range c.buffer {
		s := &c.buffer[i]
		if s.Size != 0 && s.Addr < pa+emu.PA(size) && pa < s.Addr+emu.PA(s.Size) {
			at = max(at, s.At)
		}
	}
	return at
}

// visible writes the store in a buffer slot to memory.
func (c *CPU) visible(slot uint32) {
	s := &c.buffer[slot]
	c.m.mem.Store(s.Addr, s.Size, &[4]uint64{s.Data[0], s.Data[1]})
	s.Size = 0
	c.used--
}

// Fence waits until every buffered store is visible.
func (c *CPU) Fence() {
	c.now = max(c.now, c.drain)
	c.sync()
}

// CAS64 replaces old by v, locked.
func (c *CPU) CAS64(pa emu.PA, old, v uint64) bool {
	return c.locked(pa, 8, [4]uint64{old}, [4]uint64{v})
}

// CAS128 replaces 16 bytes if they equal old, locked.
func (c *CPU) CAS128(pa emu.PA, old, v [2]uint64) bool {
	return c.locked(pa, 16, [4]uint64{old[0], old[1]}, [4]uint64{v[0], v[1]})
}

func (c *CPU) locked(pa emu.PA, size uint8, old, v [4]uint64) bool {
	c.now += c.m.Params.Host.Gap
	c.Fence()
	c.stats.Stores++
	c.now += c.m.Params.Host.Locked
	c.sync()
	var found [4]uint64
	swapped, _ := c.m.mem.CAS(pa, size, &old, &v, &found)
	return swapped
}

// Zero clears n bytes of memory that nobody else uses yet, behind all earlier stores.
func (c *CPU) Zero(pa emu.PA, n int) {
	c.Fence()
	c.now += uint64(n) / 64 * c.m.Params.Host.ZeroLine
	c.sync()
	for end := pa + emu.PA(n); pa < end; pa += 32 {
		c.m.mem.Store(pa, 32, &[4]uint64{})
	}
}

// Flush writes the cache lines of n bytes from pa back to memory.
func (c *CPU) Flush(pa emu.PA, n int) {
	if n <= 0 {
		return
	}
	lines := (uint64(pa)+uint64(n)-1)/64 - uint64(pa)/64 + 1
	c.now = max(c.now, c.drain) + lines*c.m.Params.Host.FlushLine
	c.sync()
}

// Poll evaluates cond until it is true or timeout cycles have gone.
func (c *CPU) Poll(cond func() bool, timeout uint64) bool {
	c.sync()
	end := c.now + timeout
	for {
		idle := c.m.Idle() && !c.m.multi && (c.inIRQ || len(c.queue) == 0)
		if cond() {
			return true
		}
		if c.now >= end {
			return false
		}
		c.now += max(c.m.Params.Host.Poll, 1)
		if idle && c.m.Idle() {
			c.now = end // nothing was under way when cond looked, so nothing can change any more
		}
		c.sync()
	}
}

// ReadReg reads a register of a unit: a non-posted access behind all earlier stores and register
// writes of this processor.
func (c *CPU) ReadReg(unit int, off uint32, size uint8) uint64 {
	c.now = max(c.now, c.drain, c.posted)
	c.sync()
	c.stats.RegisterReads++
	half := c.m.Params.Host.ReadReg / 2
	c.now += half
	c.sync()
	v := c.m.ports[unit].unit.ReadReg(off, size)
	c.now += c.m.Params.Host.ReadReg - half
	return v
}

// WriteReg writes a register of a unit: posted, behind all earlier stores of this processor, in
// order with its other register writes.
func (c *CPU) WriteReg(unit int, off uint32, size uint8, v uint64) {
	c.now = max(c.now, c.drain)
	c.sync()
	c.stats.RegisterWrites++
	c.now += c.m.Params.Host.WriteIssue
	c.posted = max(c.now+c.m.Params.Host.WriteReg, c.posted)
	w := postedWrite{Unit: uint32(unit), Off: off, Size: size, Used: true, Value: v}
	slot := len(c.writes)
	for i := range c.writes {
		if !c.writes[i].Used {
			slot = i
			break
		}
	}
	if slot == len(c.writes) {
		c.writes = append(c.writes, w)
	} else {
		c.writes[slot] = w
	}
	c.m.at(c.posted, prioProcessor, evRegister, c.id, uint32(slot))
}

func (c *CPU) registerArrives(slot uint32) {
	w := &c.writes[slot]
	w.Used = false
	p := c.m.ports[w.Unit]
	p.wake(p.unit.WriteReg(w.Off, w.Size, w.Value))
}
