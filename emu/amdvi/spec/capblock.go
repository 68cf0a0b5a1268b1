package spec

import "github.com/iommulab/iommulab/emu/reg"

// PCI function of a unit, 3.2.
const (
	PCIVendor  = 0x1022
	PCIDevice  = 0x1451
	PCIClass   = 0x08_06_00
	CapID      = 0x0f
	CapType    = 3
	CapRev     = 1
	MSICapID   = 5
	GVASize48  = 2 // GVAsize: 48 bits
	CapWords32 = 6
)

// Configuration space: byte offsets of what every function has, and where this one has its capabilities.
const (
	PCISpace      = 0x100
	PCIOffID      = 0x00
	PCIOffCommand = 0x04 // and status
	PCIOffClass   = 0x08
	PCIOffCapPtr  = 0x34
	PCICapability = 0x40 // the capability block
	PCIMSI        = 0x64
	PCIMSIMapping = 0x74

	PCICommandRW          = 1<<1 | 1<<2 | 1<<10 // memory space, bus master, interrupt disable
	PCIStatusCapList      = 1 << 4
	PCIStatusSignaledAbrt = 1 << 11     // signaled target abort
	MSIMapping            = 0xa803_0008 // HyperTransport MSI mapping, fixed and on
)

// Capability block: byte offsets, and fields by the 32-bit word that they are in.
const (
	CapOffHeader   = 0x00
	CapOffBaseLow  = 0x04
	CapOffBaseHigh = 0x08
	CapOffRange    = 0x0c
	CapOffMisc0    = 0x10
	CapOffMisc1    = 0x14

	CapHdrID       reg.Bits = 7_000
	CapHdrNext     reg.Bits = 15_008
	CapHdrType     reg.Bits = 18_016
	CapHdrRev      reg.Bits = 23_019
	CapHdrIotlbSup reg.Bits = 24_024
	CapHdrHtTunnel reg.Bits = 25_025
	CapHdrNpCache  reg.Bits = 26_026
	CapHdrEFRSup   reg.Bits = 27_027
	CapHdrCapExt   reg.Bits = 28_028

	CapBaseEnable reg.Bits = 0_000
	CapBaseLow    reg.Bits = 31_014

	CapRngUnitID reg.Bits = 4_000
	CapRngValid  reg.Bits = 7_007
	CapRngBus    reg.Bits = 15_008
	CapRngFirst  reg.Bits = 23_016
	CapRngLast   reg.Bits = 31_024

	CapMiscMsiNum    reg.Bits = 4_000
	CapMiscGVAsize   reg.Bits = 7_005
	CapMiscPAsize    reg.Bits = 14_008
	CapMiscVAsize    reg.Bits = 21_015
	CapMiscHtAtsResv reg.Bits = 22_022
	CapMiscMsiNumPPR reg.Bits = 31_027
	CapMiscMsiNumGA  reg.Bits = 4_000 // of Misc1
)

// Capability is the content of a unit's PCI capability block, 3.2.
type Capability struct {
	Next      uint8 // offset of the next capability
	IotlbSup  bool  // ATS
	NpCache   bool  // not-present entries are cached
	CapExt    bool  // Misc1 is there
	MMIOBase  uint64
	Enable    bool
	MsiNum    uint8 // message of events and COMPLETION_WAIT
	MsiNumPPR uint8
	MsiNumGA  uint8
	PAsize    uint8 // bits
	VAsize    uint8 // bits, 64 is 0 in the IVRS but 64 here
}

// Words returns the block as configuration space holds it, in 32-bit words from the header on.
func (c *Capability) Words() [CapWords32]uint32 {
	hdr := CapHdrID.Put(CapID) | CapHdrNext.Put(uint64(c.Next)) | CapHdrType.Put(CapType) | CapHdrRev.Put(CapRev) |
		CapHdrIotlbSup.PutBool(c.IotlbSup) | CapHdrNpCache.PutBool(c.NpCache) | CapHdrEFRSup.Put(1) | CapHdrCapExt.PutBool(c.CapExt)
	w := [CapWords32]uint32{
		uint32(hdr),
		uint32(c.MMIOBase&CapBaseLow.Mask() | CapBaseEnable.PutBool(c.Enable)),
		uint32(c.MMIOBase >> 32),
		0,
		uint32(CapMiscMsiNum.Put(uint64(c.MsiNum)) | CapMiscGVAsize.Put(GVASize48) | CapMiscPAsize.Put(uint64(c.PAsize)) |
			CapMiscVAsize.Put(uint64(c.VAsize)) | CapMiscMsiNumPPR.Put(uint64(c.MsiNumPPR))),
	}
	if c.CapExt {
		w[5] = uint32(CapMiscMsiNumGA.Put(uint64(c.MsiNumGA)))
	}
	return w
}
