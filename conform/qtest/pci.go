package qtest

import "fmt"

// PCI describes one function of a machine: where it is, and where its registers shall be. A bridge
// comes before what is behind it.
type PCI struct {
	BDF uint16 // bus<<8 | device<<3 | function
	ID  uint32 // device<<16 | vendor, as register 0 has it
	BAR uint64 // where BAR 0 goes, 0 if it is not needed
	// Bus is the number of the bus behind a bridge, and Window its memory, 1 MiB steps; 0 if it is none.
	Bus          uint8
	Window, Size uint64
}

// Configuration registers (PCI 3.0, 6.1; PCI-to-PCI bridges 1.2, 3.2).
const (
	pciCommand = 0x04
	pciBAR0    = 0x10
	pciBuses   = 0x18
	pciMemory  = 0x20

	pciMemoryAndMaster = 6 // command: answer memory accesses, be a bus master
)

// The ports of configuration mechanism 1.
const (
	portAddress = 0xcf8
	portData    = 0xcfc
)

// ReadConfig reads the 4 bytes at reg of a function's configuration space.
func (m *Machine) ReadConfig(b *Batch, bdf uint16, reg uint16) {
	if m.ECAM != 0 {
		b.Read(m.ECAM|uint64(bdf)<<12|uint64(reg), 4)
		return
	}
	b.Out(portAddress, 4, 1<<31|uint32(bdf)<<8|uint32(reg&0xfc))
	b.In(portData, 4)
}

// WriteConfig writes the 4 bytes at reg of a function's configuration space.
func (m *Machine) WriteConfig(b *Batch, bdf uint16, reg uint16, v uint32) {
	if m.ECAM != 0 {
		b.Write(m.ECAM|uint64(bdf)<<12|uint64(reg), 4, uint64(v))
		return
	}
	b.Out(portAddress, 4, 1<<31|uint32(bdf)<<8|uint32(reg&0xfc))
	b.Out(portData, 4, v)
}

// SetMSI turns on the MSI of a function, whose capability with 64-bit addresses is at reg.
func (m *Machine) SetMSI(b *Batch, bdf, reg uint16, addr, data uint32) {
	m.WriteConfig(b, bdf, reg+4, addr)
	m.WriteConfig(b, bdf, reg+8, 0)
	m.WriteConfig(b, bdf, reg+12, data)
	m.WriteConfig(b, bdf, reg, 1<<16)
}

// Enumerate does what firmware does for the functions of list: bus numbers, addresses, bus mastering.
func (m *Machine) Enumerate(b *Batch, list []PCI) {
	for _, f := range list {
		if f.Bus != 0 {
			m.WriteConfig(b, f.BDF, pciBuses, uint32(f.Bus)<<16|uint32(f.Bus)<<8|uint32(f.BDF>>8))
			m.WriteConfig(b, f.BDF, pciMemory, uint32(f.Window>>20)<<4|uint32((f.Window+f.Size-1)>>20)<<20)
		}
		if f.BAR != 0 {
			m.WriteConfig(b, f.BDF, pciBAR0, uint32(f.BAR))
		}
		m.WriteConfig(b, f.BDF, pciCommand, pciMemoryAndMaster)
	}
}

// CheckPCI requires that the functions of list are where they are said to be, after Enumerate.
//
// Errors: an Error with ErrProtocol that names the function.
func (c *Client) CheckPCI(m *Machine, list []PCI) error {
	var b Batch
	for _, f := range list {
		b.Reset()
		m.ReadConfig(&b, f.BDF, 0)
		m.ReadConfig(&b, f.BDF, pciBAR0)
		v, err := c.Do(&b)
		if err != nil {
			return err
		}
		id, bar := v[b.Len()/2-1], v[b.Len()-1]
		if id != uint64(f.ID) || f.BAR != 0 && bar&^0xf != f.BAR {
			return c.fail(fmt.Sprintf("PCI %02x:%02x.%x", f.BDF>>8, f.BDF>>3&0x1f, f.BDF&7), ErrProtocol,
				fmt.Sprintf("%#x at %#x, expected %#x at %#x", id, bar, f.ID, f.BAR))
		}
	}
	return nil
}

// Capability returns where a capability begins in the configuration space of a function.
//
// Errors: an Error with ErrUnsupported if the function has none of this id.
func (c *Client) Capability(m *Machine, bdf uint16, id uint8) (uint16, error) {
	var b Batch
	read := func(reg uint16) (uint32, error) {
		b.Reset()
		m.ReadConfig(&b, bdf, reg&^3)
		v, err := c.Do(&b)
		if err != nil {
			return 0, err
		}
		return uint32(v[len(v)-1]) >> (8 * (reg & 3)), nil
	}
	at, err := read(0x34)
	for n := 0; err == nil && at&0xfc != 0 && n < 48; n++ {
		reg := uint16(at & 0xfc)
		if at, err = read(reg); err == nil && uint8(at) == id {
			return reg, nil
		}
		at >>= 8
	}
	if err != nil {
		return 0, err
	}
	return 0, c.fail(fmt.Sprintf("PCI capability %#x of %#04x", id, bdf), ErrUnsupported, "")
}
