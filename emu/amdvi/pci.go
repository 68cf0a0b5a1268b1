package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// The PCI function of the unit, 3.2: its capability block and its MSI capability, which the window
// mirrors (MsiCapMmioSup). The machine's front end brings accesses here.

// pciState is what software has written into configuration space, MSI apart.
type pciState struct {
	Command uint16
	Status  uint16 // conditions
	Base    uint64 // of the window
	Enabled bool   // the base is locked until a reset
}

// ReadConfig reads 1, 2 or 4 bytes, naturally aligned, of configuration space. Others, and places where
// nothing is, read 0.
func (u *Unit) ReadConfig(off uint16, size uint8) uint32 {
	if !configAccess(off, size) {
		return 0
	}
	return u.configWord(off&^3) >> (8 * (off & 3)) & (1<<(8*size) - 1)
}

func configAccess(off uint16, size uint8) bool {
	return (size == 1 || size == 2 || size == 4) && off%uint16(size) == 0 && off < spec.PCISpace
}

// configWord returns the 4 bytes at off.
func (u *Unit) configWord(off uint16) uint32 {
	p := &u.s.PCI
	switch off {
	case spec.PCIOffID:
		return spec.PCIVendor | spec.PCIDevice<<16
	case spec.PCIOffCommand:
		return uint32(p.Command) | uint32(p.Status|spec.PCIStatusCapList)<<16
	case spec.PCIOffClass:
		return spec.PCIClass << 8
	case spec.PCIOffCapPtr:
		return spec.PCICapability
	case spec.PCIMSI:
		return uint32(u.reg.Get(rMSIHeader)) | msiHeader | spec.PCIMSIMapping<<8
	case spec.PCIMSI + 4:
		return uint32(u.reg.Get(rMSIAddrLow))
	case spec.PCIMSI + 8:
		return uint32(u.reg.Get(rMSIAddrHigh))
	case spec.PCIMSI + 12:
		return uint32(u.reg.Get(rMSIData))
	case spec.PCIMSIMapping:
		return spec.MSIMapping
	}
	if i := (int(off) - spec.PCICapability) / 4; off >= spec.PCICapability && i < spec.CapWords32 {
		c := u.cfg.Capability()
		c.Next, c.CapExt, c.MMIOBase, c.Enable = spec.PCIMSI, u.cfg.GAMSup, p.Base, p.Enabled
		return c.Words()[i]
	}
	return 0
}

// WriteConfig writes what ReadConfig reads, as far as software may.
func (u *Unit) WriteConfig(off uint16, size uint8, v uint32) {
	if !configAccess(off, size) {
		return
	}
	at := 8 * (off & 3)
	mask := uint32(1<<(8*size)-1) << at
	v = v << at & mask
	p := &u.s.PCI
	set := func(r int, rw uint64) {
		m := uint64(mask) & rw
		u.reg.Set(r, u.reg.Get(r)&^m|uint64(v)&m)
	}
	switch off &^ 3 {
	case spec.PCIOffCommand:
		m := uint16(mask) & spec.PCICommandRW
		p.Command = p.Command&^m | uint16(v)&m
		p.Status &^= uint16(v >> 16)
	case spec.PCICapability + spec.CapOffBaseLow:
		if p.Enabled {
			return
		}
		low := spec.CapBaseLow.Mask() & uint64(mask) &^ (uint64(u.cfg.Window()) - 1)
		p.Base = p.Base&^low | uint64(v)&low
		p.Enabled = spec.CapBaseEnable.On(uint64(v))
	case spec.PCICapability + spec.CapOffBaseHigh:
		if !p.Enabled {
			p.Base = p.Base&^(uint64(mask)<<32) | uint64(v)<<32
		}
	case spec.PCIMSI:
		set(rMSIHeader, spec.MsiEn.Mask()|spec.MsiMME.Mask())
	case spec.PCIMSI + 4:
		set(rMSIAddrLow, 0xffff_fffc)
	case spec.PCIMSI + 8:
		set(rMSIAddrHigh, 0xffff_ffff)
	case spec.PCIMSI + 12:
		set(rMSIData, 0xffff)
	}
}

// Base returns where software, firmware mostly, has put the register window, and whether it is there.
func (u *Unit) Base() (emu.PA, bool) { return emu.PA(u.s.PCI.Base), u.s.PCI.Enabled }
