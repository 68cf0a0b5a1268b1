package timing

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
)

// Saver is a part of a machine that takes part in checkpoints.
type Saver interface {
	Save(e *emu.Encoder)
	Restore(d *emu.Decoder) error
}

// Save appends a checkpoint of the hardware to e: clock, memory, units with everything in flight,
// processors with their store buffers, devices. It may be taken at any cycle. What host code holds
// in Go variables is not part of it; one that is taken inside an interrupt handler goes on inside
// one.
func (m *Machine) Save(e *emu.Encoder) {
	e.Section("timing.Machine", 3)
	e.Sealed(m.save)
}

// Restore reads back what Save wrote, into a machine that was put together in the same way. Damage
// is found before anything is changed; after any other error the machine is in no defined state.
func (m *Machine) Restore(d *emu.Decoder) error {
	d.Section("timing.Machine", 3)
	return d.Sealed(m.restore)
}

// parts are what a machine is put together of.
func (m *Machine) parts() [4]uint64 {
	return [...]uint64{uint64(len(m.ports)), uint64(len(m.cpus)), uint64(len(m.client)), uint64(len(m.msi))}
}

func (m *Machine) save(e *emu.Encoder) {
	e.Struct(m.parts())
	e.U64(m.now)
	m.wheel.Save(e)
	if s, ok := m.mem.(Saver); ok {
		s.Save(e)
	}
	for _, p := range m.ports {
		p.save(e)
	}
	for _, c := range m.cpus {
		c.save(e)
	}
	e.U64(uint64(len(m.messages)))
	e.Struct(m.messages)
	for _, c := range m.client {
		c.Save(e)
	}
}

func (m *Machine) restore(d *emu.Decoder) error {
	var parts [4]uint64
	d.Struct(&parts)
	if want := m.parts(); d.Err() == nil && parts != want {
		d.Fail("%d units, processors, devices, interrupts, want %d", parts, want)
	}
	m.now = d.U64()
	m.limit = m.now
	if err := m.wheel.Restore(d); err != nil {
		return err
	}
	if s, ok := m.mem.(Saver); ok {
		if err := s.Restore(d); err != nil {
			return err
		}
	}
	for _, p := range m.ports {
		if err := p.restore(d); err != nil {
			return err
		}
	}
	for _, c := range m.cpus {
		if err := c.restore(d); err != nil {
			return err
		}
	}
	if n := d.U64(); n > uint64(d.Left()/binary.Size(message{})) {
		d.Fail("%d messages on their way", n)
		return d.Err()
	} else {
		m.messages = make([]message, n)
	}
	d.Struct(m.messages)
	for _, c := range m.client {
		if err := c.Restore(d); err != nil {
			return err
		}
	}
	return d.Err()
}

// counters are the words of a port that a checkpoint keeps.
func (p *port) counters() []*uint64 {
	return []*uint64{
		&p.ingress, &p.tagBusy, &p.mem, &p.dataEnd, &p.irqEnd, &p.issued, &p.drainData,
		&p.merged, &p.memReads, &p.walks, &p.maxStall, &p.invalidations, &p.epoch,
	}
}

func (p *port) save(e *emu.Encoder) {
	e.Section("timing.port", 3)
	p.unit.Save(e)
	e.U64(uint64(len(p.flights)))
	e.Struct(p.flights)
	e.Struct([]int32{p.free, p.used, p.marked, p.ordering})
	e.Struct(&p.drains)
	e.Struct(&p.ats)
	for c := range p.slots {
		s := &p.slots[c]
		e.Struct([]int32{s.Free, s.First, s.Last})
		e.Struct(s.Regs)
	}
	for _, v := range p.counters() {
		e.U64(*v)
	}
}

func (p *port) restore(d *emu.Decoder) error {
	d.Section("timing.port", 3)
	if err := p.unit.Restore(d); err != nil {
		return err
	}
	if n := d.U64(); n != uint64(len(p.flights)) {
		d.Fail("%d flights, want %d", n, len(p.flights))
		return d.Err()
	}
	d.Struct(p.flights)
	var w [4]int32
	d.Struct(w[:])
	p.free, p.used, p.marked, p.ordering = w[0], w[1], w[2], w[3]
	d.Struct(&p.drains)
	d.Struct(&p.ats)
	for c := range p.slots {
		s := &p.slots[c]
		var w [3]int32
		d.Struct(w[:])
		s.Free, s.First, s.Last = w[0], w[1], w[2]
		d.Struct(s.Regs)
	}
	for _, v := range p.counters() {
		*v = d.U64()
	}
	return d.Err()
}

func (c *CPU) save(e *emu.Encoder) {
	e.Section("timing.CPU", 3)
	for _, v := range []uint64{c.now, c.drain, c.posted, uint64(c.used), uint64(len(c.buffer)), uint64(len(c.writes)), uint64(len(c.queue))} {
		e.U64(v)
	}
	e.Bool(c.inIRQ)
	e.Bool(c.splits)
	e.Struct(c.buffer)
	e.Struct(c.writes)
	e.Struct(c.queue)
	e.Struct(&c.stats)
	c.random.Save(e)
}

func (c *CPU) restore(d *emu.Decoder) error {
	d.Section("timing.CPU", 3)
	c.now, c.drain, c.posted = d.U64(), d.U64(), d.U64()
	c.used = int(d.U64())
	if n := d.U64(); n != uint64(len(c.buffer)) {
		d.Fail("store buffer of %d, want %d", n, len(c.buffer))
		return d.Err()
	}
	writes, queue := d.U64(), d.U64()
	if left := uint64(d.Left()); writes > left/uint64(binary.Size(postedWrite{})) || queue > left/4 {
		d.Fail("%d register writes and %d interrupts pending", writes, queue)
		return d.Err()
	}
	c.writes, c.queue = make([]postedWrite, writes), make([]uint32, queue)
	c.inIRQ, c.splits = d.Bool(), d.Bool()
	d.Struct(c.buffer)
	d.Struct(c.writes)
	d.Struct(c.queue)
	d.Struct(&c.stats)
	if err := c.random.Restore(d); err != nil {
		return err
	}
	return d.Err()
}
