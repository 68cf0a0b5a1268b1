package qemu

import (
	"encoding/binary"
	"fmt"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu"
)

// edu is QEMU's teaching device: one DMA engine with a buffer of 4 KiB, one MSI.
type edu struct {
	pci qtest.PCI
	msi uint16 // its MSI capability in configuration space

	addr, data uint32 // what the MSI registers hold
	armed      bool   // and that they hold anything
}

const (
	eduID   = 0x11e8_1234
	eduArgs = "edu,dma_mask=0xffffffffffffffff" // without it the device drops the upper address bits
)

// Registers of edu in BAR 0.
const (
	eduRaise  = 0x60 // raise interrupts
	eduAck    = 0x64 // lower them
	eduSource = 0x80
	eduTarget = 0x88
	eduCount  = 0x90
	eduStart  = 0x98

	eduToMemory = 1 << 1 // of eduStart
	eduRun      = 1
)

// The buffer as the DMA engine addresses it: the tags, and room for what is read.
const (
	eduBuffer = 0x4_0000
	eduRoom   = eduBuffer + 0xff0 // older devices do not reach the last bytes
)

// eduTime is how long a DMA takes in virtual time.
const eduTime = 100_000_000

// capMSI is the id of the MSI capability.
const capMSI = 0x05

// readBack is where read data is sent to: a message in compatibility format to local APIC 0x7f, which
// does not exist. In the second half bit 2 makes the destination a logical one; no APIC answers to one
// after reset.
const readBack = 0xfee7_f000

// transfer puts a DMA of n bytes on the list, and with step also its time.
func (e *edu) transfer(b *qtest.Batch, step bool, source, target uint64, n int, command uint64) {
	b.Write(e.pci.BAR+eduSource, 8, source)
	b.Write(e.pci.BAR+eduTarget, 8, target)
	b.Write(e.pci.BAR+eduCount, 8, uint64(n))
	b.Write(e.pci.BAR+eduStart, 4, command|eduRun)
	if step {
		b.Step(eduTime)
	}
	e.status(b)
}

// status asks whether the engine runs.
func (e *edu) status(b *qtest.Batch) { b.Read(e.pci.BAR+eduStart, 4) }

// tags is the content of the buffer.
func tags() []byte {
	var p []byte
	for i := range conform.Tags {
		t := conform.Tag(i)
		p = append(p, t[:]...)
	}
	return p
}

// tagAt finds a tag in the buffer.
func tagAt(data []byte) (uint64, error) {
	v := [8]byte(data)
	for i := range conform.Tags {
		if conform.Tag(i) == v {
			return eduBuffer + uint64(i)*8, nil
		}
	}
	return 0, fmt.Errorf("qemu: %#x is no conform.Tag: the device cannot write it", binary.LittleEndian.Uint64(data))
}

// message puts an MSI on the list.
func (e *edu) message(b *qtest.Batch, m *qtest.Machine, addr, data uint32) {
	if !e.armed || e.addr != addr || e.data != data {
		m.SetMSI(b, e.pci.BDF, e.msi, addr, data)
		e.addr, e.data, e.armed = addr, data, true
	}
	b.Write(e.pci.BAR+eduRaise, 4, 1)
	b.Write(e.pci.BAR+eduAck, 4, 1)
}

// isMessage reports whether an address belongs to interrupts: on a PC (VT-d 3.15).
func (u *unit) isMessage(a emu.IOVA) bool {
	return u.machine.System == qtest.Q35.System && a>>20 == interrupts>>20
}
