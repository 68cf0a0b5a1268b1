package emu

// The CPU side of Functional: a processor whose stores are visible at once and cost nothing. The
// methods are those of host.CPU.

// Load64 reads 8 bytes; a bus error reads as all ones.
func (f *Functional) Load64(pa PA) uint64 {
	var v [4]uint64
	if !f.mem.Load(pa, 8, &v) {
		return ^uint64(0)
	}
	return v[0]
}

// Store64 writes 8 bytes; a bus error is dropped.
func (f *Functional) Store64(pa PA, v uint64) { f.mem.Store(pa, 8, &[4]uint64{v}) }

// Store128 writes 16 bytes at once.
func (f *Functional) Store128(pa PA, lo, hi uint64) { f.mem.Store(pa, 16, &[4]uint64{lo, hi}) }

// Zero clears n bytes, a multiple of 32.
func (f *Functional) Zero(pa PA, n int) {
	for end := pa + PA(n); pa < end; pa += 32 {
		f.mem.Store(pa, 32, &[4]uint64{})
	}
}

// CAS64 replaces old by v and reports whether it did.
func (f *Functional) CAS64(pa PA, old, v uint64) bool {
	var found [4]uint64
	swapped, _ := f.mem.CAS(pa, 8, &[4]uint64{old}, &[4]uint64{v}, &found)
	return swapped
}

// CAS128 replaces 16 bytes if they equal old and reports whether it did.
func (f *Functional) CAS128(pa PA, old, v [2]uint64) bool {
	var found [4]uint64
	swapped, _ := f.mem.CAS(pa, 16, &[4]uint64{old[0], old[1]}, &[4]uint64{v[0], v[1]}, &found)
	return swapped
}

// ReadReg reads a register. There is one unit: the number is not looked at.
func (f *Functional) ReadReg(_ int, off uint32, size uint8) uint64 {
	return f.unit.ReadReg(off, size)
}

// WriteReg writes a register and runs the engines that this wakes.
func (f *Functional) WriteReg(_ int, off uint32, size uint8, v uint64) {
	f.Wake(f.unit.WriteReg(off, size, v))
}

// Fence does nothing: stores are visible in program order.
func (f *Functional) Fence() {}

// Flush does nothing: memory is coherent.
func (f *Functional) Flush(PA, int) {}

// Compute does nothing: there is no time.
func (f *Functional) Compute(uint64) {}

// Now is always 0: there is no time.
func (f *Functional) Now() uint64 { return 0 }

// Poll evaluates cond once: without time, what is not true now never will be.
func (f *Functional) Poll(cond func() bool, _ uint64) bool { return cond() }

// OnIRQ registers a handler and returns the message that invokes it. It runs inside the call that
// causes the interrupt.
func (f *Functional) OnIRQ(handler func()) (PA, uint32) {
	f.irq = append(f.irq, handler)
	return MSIAddress, uint32(FirstVector + len(f.irq) - 1)
}

// wire is an interrupt line with its handler.
type wire struct {
	line    uint32
	handler func()
}

// OnWire registers the handler of an interrupt line of the unit, in the place of an earlier one. It runs
// inside the call that causes the interrupt. There is one unit: the number is not looked at.
func (f *Functional) OnWire(_ int, line uint32, handler func()) {
	for i := range f.wires {
		if w := &f.wires[i]; w.line == line {
			w.handler = handler
			return
		}
	}
	f.wires = append(f.wires, wire{line, handler})
}

func (f *Functional) pulse(line uint32) {
	for i := range f.wires {
		if w := &f.wires[i]; w.line == line {
			w.handler()
			return
		}
	}
	if f.OnPulse != nil {
		f.OnPulse(line)
	}
}

func (f *Functional) deliver(addr PA, data uint32) {
	if ok, _ := MSIReaches(addr, 0); ok {
		if i, ok := MSIHandler(data, len(f.irq)); ok {
			f.irq[i]()
			return
		}
	}
	if f.OnMSI != nil {
		f.OnMSI(addr, data)
	}
}
