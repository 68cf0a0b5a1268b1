package spec

import "github.com/iommulab/iommulab/emu/reg"

// CmdOpcode is the opcode of a command, 4.1.
const CmdOpcode reg.Bits = 7_000

// Opcodes, 4.1.1.
const (
	CmdPrefetchConfig = 0x01
	CmdPrefetchAddr   = 0x02
	CmdCfgiSTE        = 0x03
	CmdCfgiSTERange   = 0x04 // with Range=31: CFGI_ALL
	CmdCfgiCD         = 0x05
	CmdCfgiCDAll      = 0x06
	CmdCfgiVMSPIDM    = 0x07
	CmdTlbiNHAll      = 0x10
	CmdTlbiNHASID     = 0x11
	CmdTlbiNHVA       = 0x12
	CmdTlbiNHVAA      = 0x13
	CmdTlbiEL3All     = 0x18
	CmdTlbiEL3VA      = 0x1a
	CmdTlbiEL2All     = 0x20
	CmdTlbiEL2ASID    = 0x21
	CmdTlbiEL2VA      = 0x22
	CmdTlbiEL2VAA     = 0x23
	CmdTlbiS12VMAll   = 0x28
	CmdTlbiS2IPA      = 0x2a
	CmdTlbiNSNHAll    = 0x30
	CmdAtcInv         = 0x40
	CmdPriResp        = 0x41
	CmdResume         = 0x44
	CmdStallTerm      = 0x45
	CmdSync           = 0x46
	CmdTlbiSEL2All    = 0x50
	CmdTlbiSEL2ASID   = 0x51
	CmdTlbiSEL2VA     = 0x52
	CmdTlbiSEL2VAA    = 0x53
	CmdTlbiSS12VMAll  = 0x58
	CmdTlbiSS2IPA     = 0x5a
	CmdTlbiSNHAll     = 0x60
	CmdDptiAll        = 0x70
	CmdDptiPA         = 0x73
	NumCmdOpcodes     = 256
)

// Fields that many commands have.
const (
	CmdSSec   reg.Bits = 10_010
	CmdSSV    reg.Bits = 11_011
	CmdSSID   reg.Bits = 31_012
	CmdSID    reg.Bits = 63_032
	CmdVMID   reg.Bits = 47_032
	CmdASID   reg.Bits = 63_048
	CmdLeaf   reg.Bits = 64_064
	CmdAddr   reg.Bits = 127_076
	CmdIPA    reg.Bits = 115_076
	CfgiRange reg.Bits = 68_064

	CfgiRangeAll = 31 // value of CfgiRange: everything
)

// PREFETCH_ADDR, 4.2.2.
const (
	PfSize   reg.Bits = 68_064
	PfStride reg.Bits = 73_069
)

// Range of TLB invalidations, 4.4.1.
const (
	TlbiNum   reg.Bits = 16_012
	TlbiScale reg.Bits = 25_020 // bit 25 with IDR5.DS only
	TlbiTTL   reg.Bits = 73_072
	TlbiTG    reg.Bits = 75_074

	TlbiTGNone   = 0 // values of TlbiTG: no range
	TlbiTG4K     = 1
	TlbiTG16K    = 2
	TlbiTG64K    = 3
	MaxTlbiScale = 39
)

// ATC_INV, 4.5.1.
const (
	AtcG    reg.Bits = 9_009
	AtcSize reg.Bits = 69_064

	AtcSizeAll = 52 // value of AtcSize: everything
)

// PRI_RESP, 4.5.2.
const (
	PriPRGIndex reg.Bits = 72_064
	PriResp     reg.Bits = 77_076

	PriFailure = 0 // values of PriResp
	PriInvalid = 1
	PriSuccess = 2
)

// RESUME, 4.6.1.
const (
	ResumeAc   reg.Bits = 12_012
	ResumeAb   reg.Bits = 13_013
	ResumeSTAG reg.Bits = 79_064
)

// SYNC, 4.6.3.
const (
	SyncCS      reg.Bits = 13_012
	SyncMSH     reg.Bits = 23_022
	SyncMSIAttr reg.Bits = 27_024
	SyncMSIData reg.Bits = 63_032
	SyncMSIAddr reg.Bits = 115_066

	SyncNone = 0 // values of SyncCS
	SyncIRQ  = 1
	SyncSEV  = 2
)

// Reasons why a command queue stops are CerrorILL and so on, with CmdqErr.

func cmdLayout(name, clause string, f ...reg.Field) *reg.Layout {
	all := append([]reg.Field{CmdOpcode.Field("Opcode", "command")}, f...)
	return &reg.Layout{Name: name, Bits: 128, Clause: clause, Fields: all}
}

func cmdSID() reg.Field  { return CmdSID.Field("StreamID", "stream") }
func cmdSSec() reg.Field { return CmdSSec.Field("SSec", "Secure stream") }
func cmdVMID() reg.Field { return CmdVMID.Field("VMID", "VMID") }
func cmdASID() reg.Field { return CmdASID.Field("ASID", "ASID") }

// cmdTlbi describes an invalidation of a range of addresses.
func cmdTlbi(name, clause string, addr reg.Field, tags ...reg.Field) *reg.Layout {
	f := append([]reg.Field{
		TlbiNum.Field("NUM", "range: units - 1"),
		TlbiScale.Field("SCALE", "range: granules of a unit, log2"),
	}, tags...)
	return cmdLayout(name, clause, append(f,
		CmdLeaf.Field("Leaf", "entries of the last level only"),
		TlbiTTL.Field("TTL", "level of the leaf, as Arm counts; 0: any"),
		TlbiTG.Field("TG", "granule: 0 no range, 1 4K, 2 16K, 3 64K"),
		addr)...)
}

// CmdLayouts describes the commands by opcode. Those of Secure streams, of EL3 and of device permission
// tables are named only.
var CmdLayouts = map[uint64]*reg.Layout{
	CmdPrefetchConfig: cmdLayout("CMD_PREFETCH_CONFIG", "4.2.1", cmdSSec(), CmdSSV.Field("SSV", "SubstreamID valid"),
		CmdSSID.Field("SubstreamID", "substream"), cmdSID()),
	CmdPrefetchAddr: cmdLayout("CMD_PREFETCH_ADDR", "4.2.2", cmdSSec(), CmdSSV.Field("SSV", "SubstreamID valid"),
		CmdSSID.Field("SubstreamID", "substream"), cmdSID(), PfSize.Field("Size", "addresses, log2"),
		PfStride.Field("Stride", "distance, log2 of pages"), CmdAddr.Field("Addr", "address >> 12")),
	CmdCfgiSTE: cmdLayout("CMD_CFGI_STE", "4.3.1", cmdSSec(), cmdSID(), CmdLeaf.Field("Leaf", "0: the L1STD too")),
	CmdCfgiSTERange: cmdLayout("CMD_CFGI_STE_RANGE", "4.3.2", cmdSSec(), cmdSID(),
		CfgiRange.Field("Range", "StreamIDs, log2, - 1; 31: CMD_CFGI_ALL")),
	CmdCfgiCD: cmdLayout("CMD_CFGI_CD", "4.3.3", cmdSSec(), CmdSSID.Field("SubstreamID", "index of the CD"), cmdSID(),
		CmdLeaf.Field("Leaf", "0: the L1CD too")),
	CmdCfgiCDAll:   cmdLayout("CMD_CFGI_CD_ALL", "4.3.4", cmdSSec(), cmdSID()),
	CmdCfgiVMSPIDM: cmdLayout("CMD_CFGI_VMS_PIDM", "4.3.5", cmdSSec(), cmdVMID()),
	CmdTlbiNHAll:   cmdLayout("CMD_TLBI_NH_ALL", "4.4.2", cmdVMID()),
	CmdTlbiNHASID:  cmdLayout("CMD_TLBI_NH_ASID", "4.4.2", cmdVMID(), cmdASID()),
	CmdTlbiNHVA:    cmdTlbi("CMD_TLBI_NH_VA", "4.4.2", CmdAddr.Field("Address", "VA >> 12"), cmdVMID(), cmdASID()),
	CmdTlbiNHVAA:   cmdTlbi("CMD_TLBI_NH_VAA", "4.4.2", CmdAddr.Field("Address", "VA >> 12"), cmdVMID()),
	CmdTlbiEL3All:  cmdLayout("CMD_TLBI_EL3_ALL", "4.4.2"),
	CmdTlbiEL3VA:   cmdLayout("CMD_TLBI_EL3_VA", "4.4.2"),
	CmdTlbiEL2All:  cmdLayout("CMD_TLBI_EL2_ALL", "4.4.2"),
	CmdTlbiEL2ASID: cmdLayout("CMD_TLBI_EL2_ASID", "4.4.2", cmdASID()),
	CmdTlbiEL2VA:   cmdTlbi("CMD_TLBI_EL2_VA", "4.4.2", CmdAddr.Field("Address", "VA >> 12"), cmdASID()),
	CmdTlbiEL2VAA:  cmdTlbi("CMD_TLBI_EL2_VAA", "4.4.2", CmdAddr.Field("Address", "VA >> 12")),
	CmdTlbiS12VMAll: cmdLayout("CMD_TLBI_S12_VMALL", "4.4.3",
		cmdVMID()),
	CmdTlbiS2IPA:   cmdTlbi("CMD_TLBI_S2_IPA", "4.4.3", CmdIPA.Field("Address", "IPA >> 12"), cmdVMID()),
	CmdTlbiNSNHAll: cmdLayout("CMD_TLBI_NSNH_ALL", "4.4.4"),
	CmdAtcInv: cmdLayout("CMD_ATC_INV", "4.5.1", AtcG.Field("G", "all PASIDs"), CmdSSV.Field("SSV", "SubstreamID valid"),
		CmdSSID.Field("SubstreamID", "PASID"), cmdSID(), AtcSize.Field("Size", "pages, log2; 52: everything"),
		CmdAddr.Field("Address", "address >> 12")),
	CmdPriResp: cmdLayout("CMD_PRI_RESP", "4.5.2", CmdSSV.Field("SSV", "SubstreamID valid"),
		CmdSSID.Field("SubstreamID", "PASID"), cmdSID(), PriPRGIndex.Field("PRGIndex", "page request group"),
		PriResp.Field("Resp", "0 failure, 1 invalid, 2 success")),
	CmdResume: cmdLayout("CMD_RESUME", "4.6.1", cmdSSec(), ResumeAc.Field("Ac", "1: retry"), ResumeAb.Field("Ab", "with Ac=0: abort"),
		cmdSID(), ResumeSTAG.Field("STAG", "stalled transaction")),
	CmdStallTerm: cmdLayout("CMD_STALL_TERM", "4.6.2", cmdSSec(), cmdSID()),
	CmdSync: cmdLayout("CMD_SYNC", "4.6.3", SyncCS.Field("CS", "signal: 0 none, 1 interrupt, 2 event"),
		SyncMSH.Field("MSH", "message shareability"), SyncMSIAttr.Field("MSIAttr", "message memory type"),
		SyncMSIData.Field("MSIData", "message data"), SyncMSIAddr.Field("MSIAddress", "message address >> 2")),
	CmdTlbiSEL2All:   cmdLayout("CMD_TLBI_S_EL2_ALL", "4.4.2"),
	CmdTlbiSEL2ASID:  cmdLayout("CMD_TLBI_S_EL2_ASID", "4.4.2"),
	CmdTlbiSEL2VA:    cmdLayout("CMD_TLBI_S_EL2_VA", "4.4.2"),
	CmdTlbiSEL2VAA:   cmdLayout("CMD_TLBI_S_EL2_VAA", "4.4.2"),
	CmdTlbiSS12VMAll: cmdLayout("CMD_TLBI_S_S12_VMALL", "4.4.3"),
	CmdTlbiSS2IPA:    cmdLayout("CMD_TLBI_S_S2_IPA", "4.4.3"),
	CmdTlbiSNHAll:    cmdLayout("CMD_TLBI_SNH_ALL", "4.4.4"),
	CmdDptiAll:       cmdLayout("CMD_DPTI_ALL", "4.8"),
	CmdDptiPA:        cmdLayout("CMD_DPTI_PA", "4.8"),
}
