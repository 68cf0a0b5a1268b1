package qtest

// Machine describes a machine type of QEMU to those who use it without firmware.
type Machine struct {
	System string // of the program's name: qemu-system-SYSTEM
	Type   string // for -machine
	RAM    uint64 // where it begins
	// ECAM is where PCI configuration space is in memory; 0: it is behind ports 0xcf8 and 0xcfc.
	ECAM uint64
	// BARs is where registers of PCI devices can be put: an area of 256 MiB below 4 GiB.
	BARs uint64
	// IOMMUs are the addresses of the register windows, by the name of the device.
	IOMMUs map[string]uint64
	// Hole is where nothing answers, for 4 GiB, if there is little RAM.
	Hole uint64
	// Halt is firmware that halts the processor, for builds of QEMU that have no other way to keep it
	// still; nil where that is not done.
	Halt []byte
}

// Q35 is the PC with PCI Express. Its legacy timers are off, which nobody here serves.
var Q35 = Machine{
	System: "x86_64",
	Type:   "q35,pit=off,hpet=off,sata=off,smbus=off,usb=off,vmport=off",
	BARs:   0xe000_0000,
	IOMMUs: map[string]uint64{"intel-iommu": 0xfed9_0000, "amd-iommu": 0xfed8_0000},
	Hole:   0x40_0000_0000,
	Halt:   haltPC(),
}

// haltPC is a firmware of 64 KiB. A PC begins 16 bytes below its end.
func haltPC() []byte {
	rom := make([]byte, 64<<10)
	copy(rom[len(rom)-16:], []byte{0xfa, 0xf4, 0xeb, 0xfd}) // cli; again: hlt; jmp again
	return rom
}

// Virt is the Arm machine without a counterpart in silicon.
var Virt = Machine{
	System: "aarch64",
	Type:   "virt",
	RAM:    0x4000_0000,
	ECAM:   0x40_1000_0000,
	BARs:   0x1000_0000,
	IOMMUs: map[string]uint64{"smmuv3": 0x0905_0000},
	Hole:   0x20_0000_0000,
}
