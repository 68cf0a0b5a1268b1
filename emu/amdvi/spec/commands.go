package spec

import "github.com/iommulab/iommulab/emu/reg"

// CmdOpcode is the opcode of a command, 2.4.
const CmdOpcode reg.Bits = 63_060

// Opcodes.
const (
	CmdCompletionWait      = 0x1
	CmdInvalidateDevtab    = 0x2
	CmdInvalidatePages     = 0x3
	CmdInvalidateIOTLB     = 0x4
	CmdInvalidateIntTable  = 0x5
	CmdPrefetchPages       = 0x6
	CmdCompletePPR         = 0x7
	CmdInvalidateAll       = 0x8
	CmdInsertGuestEvent    = 0x9
	CmdResetVMMIO          = 0xa
	NumCmdOpcodes          = 16
	AllPages               = 0x7fff_ffff_ffff_f000 // with S=1: everything
	PPRSuccess             = 0x0                   // response status of COMPLETE_PPR_REQUEST
	PPRInvalid             = 0x1
	PPRFailure             = 0xf
	PrefetchInvalidateBits = 1
)

// COMPLETION_WAIT, 2.4.1.
const (
	CwS    reg.Bits = 0_000
	CwI    reg.Bits = 1_001
	CwF    reg.Bits = 2_002
	CwAddr reg.Bits = 51_003
	CwData reg.Bits = 127_064
)

// CmdDeviceID is the device of INVALIDATE_DEVTAB_ENTRY, INVALIDATE_IOTLB_PAGES,
// INVALIDATE_INTERRUPT_TABLE, PREFETCH_IOMMU_PAGES and COMPLETE_PPR_REQUEST.
const CmdDeviceID reg.Bits = 15_000

// Range of INVALIDATE_IOMMU_PAGES, INVALIDATE_IOTLB_PAGES and PREFETCH_IOMMU_PAGES.
const (
	CmdS    reg.Bits = 64_064
	CmdGN   reg.Bits = 66_066
	CmdAddr reg.Bits = 127_076
)

// INVALIDATE_IOMMU_PAGES, 2.4.3.
const (
	IpPASID    reg.Bits = 19_000
	IpDomainID reg.Bits = 47_032
	IpPDE      reg.Bits = 65_065
)

// INVALIDATE_IOTLB_PAGES, 2.4.4. The PASID is in three pieces.
const (
	ItPASIDMid reg.Bits = 23_016 // 15:8
	ItMaxPend  reg.Bits = 31_024
	ItQueueID  reg.Bits = 47_032
	ItPASIDLo  reg.Bits = 55_048 // 7:0
	ItPASIDHi  reg.Bits = 59_056 // 19:16
	ItType     reg.Bits = 69_068
)

// PREFETCH_IOMMU_PAGES, 2.4.6.
const (
	PfCount reg.Bits = 31_024
	PfPASID reg.Bits = 51_032
	PfInval reg.Bits = 68_068
)

// COMPLETE_PPR_REQUEST, 2.4.7.
const (
	CpPASID  reg.Bits = 51_032
	CpGN     reg.Bits = 66_066
	CpPRG    reg.Bits = 104_096
	CpStatus reg.Bits = 111_108
)

// IotlbPASID returns the PASID of an INVALIDATE_IOTLB_PAGES command from its first word.
func IotlbPASID(w uint64) uint64 {
	return ItPASIDLo.Of(w) | ItPASIDMid.Of(w)<<8 | ItPASIDHi.Of(w)<<16
}

// PutIotlbPASID returns a PASID at its three places in the first word.
func PutIotlbPASID(p uint64) uint64 {
	return ItPASIDLo.Put(p) | ItPASIDMid.Put(p>>8) | ItPASIDHi.Put(p>>16)
}

func cmdLayout(name, clause string, f ...reg.Field) *reg.Layout {
	var low, high []reg.Field
	for _, x := range f {
		if x.Lo < 60 {
			low = append(low, x)
		} else {
			high = append(high, x)
		}
	}
	all := append(append(low, CmdOpcode.Field("Opcode", "command")), high...)
	return &reg.Layout{Name: name, Bits: 128, Clause: clause, Fields: all}
}

func withJoint(l *reg.Layout, j reg.Joint) *reg.Layout {
	l.Joints = []reg.Joint{j}
	return l
}

// INSERT_GUEST_EVENT and RESET_VMMIO, 2.4.9 and 2.4.10: commands of virtual IOMMUs.
const (
	GeGuestID reg.Bits = 47_032
	RvGuestID reg.Bits = 15_000
	RvAll     reg.Bits = 27_027
	RvVCmd    reg.Bits = 31_031
)

// CmdLayouts describes the commands by opcode; nil for opcodes that are none.
var CmdLayouts = [NumCmdOpcodes]*reg.Layout{
	CmdCompletionWait: cmdLayout("COMPLETION_WAIT", "2.4.1",
		CwS.Field("S", "store"), CwI.Field("I", "interrupt"), CwF.Field("F", "flush queue"),
		CwAddr.Field("StoreAddr", "address >> 3"), CwData.Field("StoreData", "data")),
	CmdInvalidateDevtab: cmdLayout("INVALIDATE_DEVTAB_ENTRY", "2.4.2",
		CmdDeviceID.Field("DeviceID", "device")),
	CmdInvalidatePages: cmdLayout("INVALIDATE_IOMMU_PAGES", "2.4.3",
		IpPASID.Field("PASID", "with GN"), IpDomainID.Field("DomainID", "domain"),
		CmdS.Field("S", "size is in Address"), IpPDE.Field("PDE", "tables too"), CmdGN.Field("GN", "guest virtual address"),
		CmdAddr.Field("Address", "address >> 12")),
	CmdInvalidateIOTLB: withJoint(cmdLayout("INVALIDATE_IOTLB_PAGES", "2.4.4",
		CmdDeviceID.Field("DeviceID", "device"), ItPASIDMid.Field("PASID[15:8]", "with GN"), ItMaxPend.Field("MaxPend", "outstanding"),
		ItQueueID.Field("QueueID", "queue of MaxPend"), ItPASIDLo.Field("PASID[7:0]", "with GN"), ItPASIDHi.Field("PASID[19:16]", "with GN"),
		CmdS.Field("S", "size is in Address"), CmdGN.Field("GN", "with PASID"), ItType.Field("Type", "with InvIotlbTypeSup"),
		CmdAddr.Field("Address", "address >> 12")),
		reg.Joint{Name: "PASID", Help: "with GN", Pieces: []reg.Piece{ItPASIDLo.At(0), ItPASIDMid.At(8), ItPASIDHi.At(16)}}),
	CmdInvalidateIntTable: cmdLayout("INVALIDATE_INTERRUPT_TABLE", "2.4.5",
		CmdDeviceID.Field("DeviceID", "device")),
	CmdPrefetchPages: cmdLayout("PREFETCH_IOMMU_PAGES", "2.4.6",
		CmdDeviceID.Field("DeviceID", "device"), PfCount.Field("PFcount", "pages"), PfPASID.Field("PASID", "with GN"),
		CmdS.Field("S", "size"), CmdGN.Field("GN", "guest virtual address"), PfInval.Field("Inval", "invalidate first"),
		CmdAddr.Field("Address", "address >> 12")),
	CmdCompletePPR: cmdLayout("COMPLETE_PPR_REQUEST", "2.4.7",
		CmdDeviceID.Field("DeviceID", "device"), CpPASID.Field("PASID", "with GN"), CpGN.Field("GN", "with PASID"),
		CpPRG.Field("CompletionTag", "page request group"), CpStatus.Field("Status", "0 success, 1 invalid, other failure")),
	CmdInvalidateAll: cmdLayout("INVALIDATE_IOMMU_ALL", "2.4.8"),
	CmdInsertGuestEvent: cmdLayout("INSERT_GUEST_EVENT", "2.4.9",
		GeGuestID.Field("GuestID", "guest")),
	CmdResetVMMIO: cmdLayout("RESET_VMMIO", "2.4.10",
		RvGuestID.Field("GuestID", "guest"), RvAll.Field("All", "all guests"), RvVCmd.Field("vCmd", "virtual command buffer")),
}
