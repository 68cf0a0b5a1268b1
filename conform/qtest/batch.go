package qtest

import "strconv"

// Batch is a list of commands that go to QEMU in one piece. It saves most of the time, which is that of
// waking up the other process. The zero value is empty.
type Batch struct {
	buf  []byte
	ends []int // of the commands in buf
}

// Reset empties b, and keeps its memory.
func (b *Batch) Reset() { b.buf, b.ends = b.buf[:0], b.ends[:0] }

// Len is the number of commands.
func (b *Batch) Len() int { return len(b.ends) }

// command returns command number i without its end of line.
func (b *Batch) command(i int) string {
	from := 0
	if i > 0 {
		from = b.ends[i-1]
	}
	return string(b.buf[from : b.ends[i]-1])
}

func (b *Batch) add(name string, args ...uint64) {
	b.buf = append(b.buf, name...)
	for _, v := range args {
		b.buf = append(b.buf, " 0x"...)
		b.buf = strconv.AppendUint(b.buf, v, 16)
	}
	b.buf = append(b.buf, '\n')
	b.ends = append(b.ends, len(b.buf))
}

// suffix is the protocol's letter for an access of size bytes; what is none makes QEMU refuse.
func suffix(size uint8) string {
	switch size {
	case 1:
		return "b"
	case 2:
		return "w"
	case 4:
		return "l"
	case 8:
		return "q"
	}
	return "?" + strconv.Itoa(int(size))
}

// Read reads size bytes (1, 2, 4, 8) of memory or of a device's registers, as a processor does.
func (b *Batch) Read(addr uint64, size uint8) { b.add("read"+suffix(size), addr) }

// Write writes size bytes (1, 2, 4, 8), as a processor does.
func (b *Batch) Write(addr uint64, size uint8, v uint64) { b.add("write"+suffix(size), addr, v) }

// In reads size bytes (1, 2, 4) of an x86 port.
func (b *Batch) In(port uint16, size uint8) { b.add("in"+suffix(size), uint64(port)) }

// Out writes size bytes (1, 2, 4) to an x86 port.
func (b *Batch) Out(port uint16, size uint8, v uint32) {
	b.add("out"+suffix(size), uint64(port), uint64(v))
}

// Fill sets n bytes of memory to v.
func (b *Batch) Fill(addr, n uint64, v uint8) { b.add("memset", addr, n, uint64(v)) }

// Step moves the clock of the machine on by ns and runs the timers that are due.
func (b *Batch) Step(ns uint64) { b.add("clock_step", ns) }
