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

// firstVector keeps message data away from 0, which a forgotten data register would send.
const firstVector = 0x20

// OnIRQ registers a handler on this processor and returns the message that invokes it.
func (c *CPU) OnIRQ(handler func()) (emu.PA, uint32) {
	c.m.msi = append(c.m.msi, msi{c, handler})
	return emu.MSIAddress, uint32(firstVector + len(c.m.msi) - 1)
}

// sendMSI starts the message (addr, data) on its way. Messages nobody registered are lost, as on a
// real bus.
func (m *Machine) sendMSI(addr emu.PA, data uint32) {
	if addr != emu.MSIAddress || data < firstVector || int(data-firstVector) >= len(m.msi) {
		return
	}
	m.at(m.now+m.Params.MSI, prioProcessor, evMSI, data-firstVector, 0)
}

// interrupt notes that message i has arrived. One that is pending already is not pending twice, as in
// an interrupt controller: a device that sends faster than a handler runs cannot fill a queue.
func (m *Machine) interrupt(i uint32) {
	if c := m.msi[i].cpu; !slices.Contains(c.queue, i) {
		c.queue = append(c.queue, i)
	}
}
