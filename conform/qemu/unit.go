package qemu

import (
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// unit is what QEMU has of an architecture: the machine that has it, the devices around it, and how it
// can be seen what they do.
type unit struct {
	iommu   string // as conform.Target names it
	title   string
	device  string // QEMU's name of the unit
	machine *qtest.Machine
	args    []string // devices
	pci     []qtest.PCI
	// function is the PCI identity of the unit itself if its interrupt is configured there, as
	// software does it after a reset.
	function uint32
	events   []string // that the log shall have
	line     func(s *seen, text []byte)
	// probe says that what is refused leaves a trace for each try. QEMU tries a refused access of 8 bytes
	// again in halves; so 4 bytes are tried first.
	probe bool
	// hush are the register and the bits of it that let the unit report. They are off while a device sends
	// what it has read: the unit would look at tables for that, too. 0: not needed.
	hush hush
	// fresh are registers to be written after a reset of QEMU, which leaves what was taken over from them in
	// force: 0, 8 bytes each.
	fresh []uint32
}

type hush struct {
	off  uint32
	bits uint64
}

// A PC with three requesters: two on the root bus, one behind a root port on bus 1.
var pcDevices = []qtest.PCI{
	{BDF: 0x0018, ID: eduID, BAR: 0xe000_0000},
	{BDF: 0x00a1, ID: eduID, BAR: 0xe010_0000},
	{BDF: 0x0030, ID: 0x000c_1b36, Bus: 1, Window: 0xe020_0000, Size: 0x10_0000},
	{BDF: 0x0100, ID: eduID, BAR: 0xe020_0000},
}

var pcArgs = []string{
	"-device", eduArgs + ",addr=03.0",
	"-device", "pcie-root-port,id=rp1,chassis=1,addr=06.0",
	"-device", eduArgs + ",addr=14.1", // the upper half of the bus, which VT-d's scalable mode finds by UCTP
	"-device", "pci-testdev,addr=14.0,multifunction=on",
	"-device", eduArgs + ",bus=rp1,addr=00.0",
}

var vtd = unit{
	iommu: "vtd", title: "VT-d", device: "intel-iommu", machine: &qtest.Q35, args: pcArgs, pci: pcDevices,
	events: []string{"vtd_ir_remap_msi", "vtd_irq_generate"}, line: (*seen).vtd,
}

var amdvi = unit{
	iommu: "amdvi", title: "AMD-Vi", device: "amd-iommu", machine: &qtest.Q35, args: pcArgs,
	pci:      append([]qtest.PCI{{BDF: 0x0008, ID: amdviID}}, pcDevices...),
	function: amdviID,
	events:   []string{"amdvi_ir_remap_msi", "amdvi_mem_ir_write_req", "amdvi_generate_msi_interrupt", "apic_deliver_irq"},
	line:     (*seen).amdvi, probe: true, hush: hush{spec.OffControl, spec.CtlEventLogEn.Mask()},
	fresh: []uint32{spec.OffControl, spec.OffDevTabBase, spec.OffCmdBufBase, spec.OffEventLogBase, spec.OffPPRLogBase},
}

// amdviID is the PCI identity of QEMU's AMD-Vi unit.
const amdviID = 0x1419_1022
