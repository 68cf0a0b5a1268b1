package qemu

import (
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	arm "github.com/iommulab/iommulab/emu/smmuv3/spec"
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
	// toMemory says that a device can write what it has read to memory, past translation, while the
	// registers in aside are changed: to the page below that for programs. Otherwise it sends an interrupt message, which
	// is not translated.
	toMemory bool
	// aside are registers that are changed while a device sends what it has read, so that the unit neither
	// translates nor reports it.
	aside []aside
	// fresh are registers to be written after a reset of QEMU, which leaves them, or what was taken over
	// from them.
	fresh []fresh
}

// aside says what is changed in a register: bits to clear, and bits to set on both ways.
type aside struct {
	off        uint32
	size       uint8
	clear, set uint64
}

// fresh is a register and what it is after a reset.
type fresh struct {
	off   uint32
	size  uint8
	value uint64
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
	line:     (*seen).amdvi, probe: true, aside: []aside{{spec.OffControl, 8, spec.CtlEventLogEn.Mask(), 0}},
	fresh: []fresh{
		{spec.OffControl, 8, 0}, {spec.OffDevTabBase, 8, 0}, {spec.OffCmdBufBase, 8, 0}, {spec.OffEventLogBase, 8, 0}, {spec.OffPPRLogBase, 8, 0},
	},
}

var smmuv3 = unit{
	iommu: "smmuv3", title: "SMMUv3", device: "smmuv3", machine: &virt, args: pcArgs, pci: virtDevices,
	line: func(*seen, []byte) {}, probe: true, toMemory: true,
	aside: []aside{
		{arm.OffCR0, 4, arm.Cr0SMMUEN.Mask() | arm.Cr0EVENTQEN.Mask() | arm.Cr0CMDQEN.Mask(), 0},
		{arm.OffGBPA, 4, arm.GbpaABORT.Mask(), arm.GbpaUPDATE.Mask()},
	},
	fresh: []fresh{
		{arm.OffCR1, 4, 0}, {arm.OffCR2, 4, 0},
		{arm.OffSTRTABBase, 8, 0}, {arm.OffSTRTABBaseCfg, 4, 0}, {arm.OffCMDQBase, 8, 19}, {arm.OffEVENTQBase, 8, 19},
		{arm.OffGERRORIRQCfg0, 8, 0}, {arm.OffGERRORIRQCfg0 + 8, 4, 0}, {arm.OffGERRORIRQCfg0 + 12, 4, 0},
		{arm.OffEVENTQIRQCfg0, 8, 0}, {arm.OffEVENTQIRQCfg0 + 8, 4, 0}, {arm.OffEVENTQIRQCfg0 + 12, 4, 0},
	},
}

// virt is the machine with an SMMUv3 in front of its root bus.
var virt = func() qtest.Machine {
	m := qtest.Virt
	m.Type += ",iommu=smmuv3"
	return m
}()

// virtDevices are those of a PC at other addresses.
var virtDevices = func() []qtest.PCI {
	var list []qtest.PCI
	for _, f := range pcDevices {
		if f.BAR != 0 {
			f.BAR += qtest.Virt.BARs - qtest.Q35.BARs
		}
		if f.Window != 0 {
			f.Window += qtest.Virt.BARs - qtest.Q35.BARs
		}
		list = append(list, f)
	}
	return list
}()

// amdviID is the PCI identity of QEMU's AMD-Vi unit.
const amdviID = 0x1419_1022
