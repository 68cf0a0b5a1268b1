package timing

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// msi is a registered interrupt message.
type msi struct {
	cpu     *CPU
	handler func()
}

// OnIRQ registers a handler on this processor and returns the message that invokes it.
func (c *CPU) OnIRQ(handler func()) (emu.PA, uint32) {
	c.vectors = append(c.vectors, uint32(len(c.m.msi)))
	c.m.msi = append(c.m.msi, msi{c, handler})
	return emu.MSITo(c.id), uint32(emu.FirstVector + len(c.vectors) - 1)
}

// line is an interrupt line of a unit with its handler, an index of Machine.msi.
type line struct {
	unit, number uint32
	handler      uint32
}

// OnWire registers the handler of an interrupt line of a unit on this processor, in the place of an earlier
// one. A pulse takes as long to arrive as a message.
func (c *CPU) OnWire(unit int, number uint32, handler func()) {
	for _, l := range c.m.lines {
		if l.unit == uint32(unit) && l.number == number {
			c.m.msi[l.handler] = msi{c, handler}
			return
		}
	}
	c.m.lines = append(c.m.lines, line{uint32(unit), number, uint32(len(c.m.msi))})
	c.m.msi = append(c.m.msi, msi{c, handler})
}

// pulse starts a pulse of a line on its way. One that nobody has registered for is lost.
func (m *Machine) pulse(unit, number uint32) {
	for _, l := range m.lines {
		if l.unit == unit && l.number == number {
			m.at(m.now+m.Params.MSI, prioProcessor, evMSI, l.handler, 0)
		}
	}
}

// sendMSI starts the message (addr, data) on its way to the processors that own the address. What
// none of them has a handler for is lost, as on a real bus.
func (m *Machine) sendMSI(addr emu.PA, data uint32) {
	for _, c := range m.cpus {
		reaches, only := emu.MSIReaches(addr, c.id)
		if !reaches {
			continue
		}
		if i, ok := emu.MSIHandler(data, len(c.vectors)); ok {
			m.at(m.now+m.Params.MSI, prioProcessor, evMSI, c.vectors[i], 0)
		}
		if only {
			return
		}
	}
}

// interrupt notes that message i has arrived. One that is pending already is not pending twice, as in
// an interrupt controller: a device that sends faster than a handler runs cannot fill a queue.
func (m *Machine) interrupt(i uint32) {
	if c := m.msi[i].cpu; !slices.Contains(c.queue, i) {
		c.queue = append(c.queue, i)
	}
}
