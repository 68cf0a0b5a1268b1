package spec

import "github.com/iommulab/iommulab/emu/reg"

// GCMD_REG (11.4.4.1) and GSTS_REG (11.4.4.2): the status of each command is the same bit.
const (
	GcmdCFI   reg.Bits = 23_023
	GcmdSIRTP reg.Bits = 24_024
	GcmdIRE   reg.Bits = 25_025
	GcmdQIE   reg.Bits = 26_026
	GcmdWBF   reg.Bits = 27_027
	GcmdEAFL  reg.Bits = 28_028
	GcmdSFL   reg.Bits = 29_029
	GcmdSRTP  reg.Bits = 30_030
	GcmdTE    reg.Bits = 31_031

	GstsCFIS  reg.Bits = 23_023
	GstsIRTPS reg.Bits = 24_024
	GstsIRES  reg.Bits = 25_025
	GstsQIES  reg.Bits = 26_026
	GstsWBFS  reg.Bits = 27_027
	GstsAFLS  reg.Bits = 28_028
	GstsFLS   reg.Bits = 29_029
	GstsRTPS  reg.Bits = 30_030
	GstsTES   reg.Bits = 31_031
)

// RTADDR_REG, 11.4.5.
const (
	RtaddrTTM reg.Bits = 11_010
	RtaddrRTA reg.Bits = 63_012

	TTMLegacy   = 0 // values of RtaddrTTM
	TTMScalable = 1
	TTMReserved = 2
	TTMAbort    = 3
)

// CCMD_REG, IVA_REG and IOTLB_REG, 11.4.6. Granularities: 1 global, 2 domain, 3 device or page; 0
// in the actual granularity means rejected.
const (
	CcmdDID  reg.Bits = 15_000
	CcmdSID  reg.Bits = 31_016
	CcmdFM   reg.Bits = 33_032
	CcmdCAIG reg.Bits = 60_059
	CcmdCIRG reg.Bits = 62_061
	CcmdICC  reg.Bits = 63_063

	IvaAM   reg.Bits = 5_000
	IvaIH   reg.Bits = 6_006
	IvaADDR reg.Bits = 63_012

	IotlbDID  reg.Bits = 47_032
	IotlbDW   reg.Bits = 48_048
	IotlbDR   reg.Bits = 49_049
	IotlbIAIG reg.Bits = 58_057
	IotlbIIRG reg.Bits = 61_060
	IotlbIVT  reg.Bits = 63_063
)

// FSTS_REG, 11.4.7.1.
const (
	FstsPFO reg.Bits = 0_000
	FstsPPF reg.Bits = 1_001
	FstsAFO reg.Bits = 2_002
	FstsAPF reg.Bits = 3_003
	FstsIQE reg.Bits = 4_004
	FstsICE reg.Bits = 5_005
	FstsITE reg.Bits = 6_006
	FstsFRI reg.Bits = 15_008
)

// FECTL_REG, IECTL_REG and PECTL_REG with their data and address registers, 11.4.7.2.
const (
	EventIP   reg.Bits = 30_030
	EventIM   reg.Bits = 31_031
	EventData reg.Bits = 15_000
	EventAddr reg.Bits = 31_002
)

// PMEN_REG, 11.4.8.1.
const (
	PmenPRS reg.Bits = 0_000
	PmenEPM reg.Bits = 31_031
)

// IQH_REG, IQT_REG, IQA_REG, ICS_REG, IQERCD_REG: 11.4.9. Head and tail are byte offsets.
const (
	IqhQH reg.Bits = 18_004
	IqtQT reg.Bits = 18_004

	IqaQS  reg.Bits = 2_000
	IqaDW  reg.Bits = 11_011
	IqaIQA reg.Bits = 63_012

	IcsIWC reg.Bits = 0_000

	IqercdIQEI    reg.Bits = 3_000
	IqercdITESID  reg.Bits = 47_032
	IqercdICESID  reg.Bits = 63_048
	IQEINone               = 0 // values of IqercdIQEI
	IQEITail               = 1 // tail beyond the queue
	IQEIFetch              = 2 // descriptor fetch failed
	IQEIType               = 3 // unknown descriptor type
	IQEIReserved           = 4 // reserved field
	IQEIWidth              = 5 // descriptor width
	IQEITailAlign          = 6 // tail not aligned for 256-bit descriptors
	IQEITTM                = 7 // translation table mode
)

// IRTA_REG, 11.4.10.
const (
	IrtaS    reg.Bits = 3_000
	IrtaEIME reg.Bits = 11_011
	IrtaIRTA reg.Bits = 63_012
)

// PQH_REG, PQT_REG, PQA_REG and PRS_REG, 11.4.11. Head and tail are byte offsets.
const (
	PqhPQH   reg.Bits = 18_005
	PqtPQT   reg.Bits = 18_005
	PqaPQS   reg.Bits = 2_000
	PqaPQA   reg.Bits = 63_012
	PrsPPR   reg.Bits = 0_000
	PrsPRO   reg.Bits = 1_001
	AflFLS   reg.Bits = 11_009
	AflFLA   reg.Bits = 63_012
	MtrrVCNT reg.Bits = 7_000
)

// GCMDLayout describes GCMD_REG.
var GCMDLayout = reg.Layout{Name: "GCMD_REG", Bits: 32, Clause: "11.4.4.1", Fields: []reg.Field{
	GcmdCFI.Field("CFI", "compatibility-format interrupts"),
	GcmdSIRTP.Field("SIRTP", "set interrupt-remapping table pointer (one-shot)"),
	GcmdIRE.Field("IRE", "interrupt remapping enable"),
	GcmdQIE.Field("QIE", "queued invalidation enable"),
	GcmdWBF.Field("WBF", "write-buffer flush (one-shot)"),
	GcmdEAFL.Field("EAFL", "enable advanced fault logging"),
	GcmdSFL.Field("SFL", "set fault log (one-shot)"),
	GcmdSRTP.Field("SRTP", "set root table pointer (one-shot)"),
	GcmdTE.Field("TE", "translation enable"),
}}

// GSTSLayout describes GSTS_REG.
var GSTSLayout = reg.Layout{Name: "GSTS_REG", Bits: 32, Clause: "11.4.4.2", Fields: []reg.Field{
	GstsCFIS.Field("CFIS", "compatibility-format interrupts pass"),
	GstsIRTPS.Field("IRTPS", "interrupt-remapping table pointer set"),
	GstsIRES.Field("IRES", "interrupt remapping enabled"),
	GstsQIES.Field("QIES", "queued invalidation enabled"),
	GstsWBFS.Field("WBFS", "write-buffer flush in progress"),
	GstsAFLS.Field("AFLS", "advanced fault logging enabled"),
	GstsFLS.Field("FLS", "fault log set"),
	GstsRTPS.Field("RTPS", "root table pointer set"),
	GstsTES.Field("TES", "translation enabled"),
}}

// RTADDRLayout describes RTADDR_REG.
var RTADDRLayout = reg.Layout{Name: "RTADDR_REG", Bits: 64, Clause: "11.4.5", Fields: []reg.Field{
	RtaddrTTM.Field("TTM", "0 legacy, 1 scalable, 3 abort DMA"),
	RtaddrRTA.Field("RTA", "root table address >> 12"),
}}

// CCMDLayout describes CCMD_REG.
var CCMDLayout = reg.Layout{Name: "CCMD_REG", Bits: 64, Clause: "11.4.6.1", Fields: []reg.Field{
	CcmdDID.Field("DID", "domain"),
	CcmdSID.Field("SID", "source"),
	CcmdFM.Field("FM", "function mask"),
	CcmdCAIG.Field("CAIG", "actual granularity"),
	CcmdCIRG.Field("CIRG", "requested granularity: 1 global, 2 domain, 3 device"),
	CcmdICC.Field("ICC", "invalidate context-cache; clears when done"),
}}

// IVALayout describes IVA_REG.
var IVALayout = reg.Layout{Name: "IVA_REG", Bits: 64, Clause: "11.4.6.4", Fields: []reg.Field{
	IvaAM.Field("AM", "address mask: 2^AM pages"),
	IvaIH.Field("IH", "invalidation hint: only leaves changed"),
	IvaADDR.Field("ADDR", "address >> 12"),
}}

// IOTLBLayout describes IOTLB_REG.
var IOTLBLayout = reg.Layout{Name: "IOTLB_REG", Bits: 64, Clause: "11.4.6.3", Fields: []reg.Field{
	IotlbDID.Field("DID", "domain"),
	IotlbDW.Field("DW", "drain writes"),
	IotlbDR.Field("DR", "drain reads"),
	IotlbIAIG.Field("IAIG", "actual granularity"),
	IotlbIIRG.Field("IIRG", "requested granularity: 1 global, 2 domain, 3 page"),
	IotlbIVT.Field("IVT", "invalidate; clears when done"),
}}

// FSTSLayout describes FSTS_REG.
var FSTSLayout = reg.Layout{Name: "FSTS_REG", Bits: 32, Clause: "11.4.7.1", Fields: []reg.Field{
	FstsPFO.Field("PFO", "fault overflow"),
	FstsPPF.Field("PPF", "fault pending: or of all F"),
	FstsAFO.Field("AFO", "advanced fault overflow"),
	FstsAPF.Field("APF", "advanced fault pending"),
	FstsIQE.Field("IQE", "invalidation queue error"),
	FstsICE.Field("ICE", "invalidation completion error"),
	FstsITE.Field("ITE", "invalidation time-out"),
	FstsFRI.Field("FRI", "record of the fault that set PPF"),
}}

// FECTLLayout describes FECTL_REG, IECTL_REG and PECTL_REG.
var FECTLLayout = reg.Layout{Name: "FECTL_REG", Bits: 32, Clause: "11.4.7.2", Fields: []reg.Field{
	EventIP.Field("IP", "message pending"),
	EventIM.Field("IM", "message masked"),
}}

// PMENLayout describes PMEN_REG.
var PMENLayout = reg.Layout{Name: "PMEN_REG", Bits: 32, Clause: "11.4.8.1", Fields: []reg.Field{
	PmenPRS.Field("PRS", "protection in effect"),
	PmenEPM.Field("EPM", "enable protected memory"),
}}

// IQHLayout describes IQH_REG.
var IQHLayout = reg.Layout{Name: "IQH_REG", Bits: 64, Clause: "11.4.9.1", Fields: []reg.Field{
	IqhQH.Field("QH", "byte offset of the next descriptor to fetch >> 4"),
}}

// IQTLayout describes IQT_REG.
var IQTLayout = reg.Layout{Name: "IQT_REG", Bits: 64, Clause: "11.4.9.2", Fields: []reg.Field{
	IqtQT.Field("QT", "byte offset behind the last descriptor >> 4"),
}}

// IQALayout describes IQA_REG.
var IQALayout = reg.Layout{Name: "IQA_REG", Bits: 64, Clause: "11.4.9.3", Fields: []reg.Field{
	IqaQS.Field("QS", "2^QS pages"),
	IqaDW.Field("DW", "0: 128-bit descriptors, 1: 256-bit"),
	IqaIQA.Field("IQA", "queue address >> 12"),
}}

// ICSLayout describes ICS_REG.
var ICSLayout = reg.Layout{Name: "ICS_REG", Bits: 32, Clause: "11.4.9.4", Fields: []reg.Field{
	IcsIWC.Field("IWC", "wait descriptor complete"),
}}

// IQERCDLayout describes IQERCD_REG.
var IQERCDLayout = reg.Layout{Name: "IQERCD_REG", Bits: 64, Clause: "11.4.9.9", Fields: []reg.Field{
	IqercdIQEI.Field("IQEI", "queue error"),
	IqercdITESID.Field("ITESID", "source that timed out"),
	IqercdICESID.Field("ICESID", "source of the unexpected completion"),
}}

// IRTALayout describes IRTA_REG.
var IRTALayout = reg.Layout{Name: "IRTA_REG", Bits: 64, Clause: "11.4.10", Fields: []reg.Field{
	IrtaS.Field("S", "2^(S+1) entries"),
	IrtaEIME.Field("EIME", "extended interrupt mode"),
	IrtaIRTA.Field("IRTA", "table address >> 12"),
}}

// PQHLayout describes PQH_REG.
var PQHLayout = reg.Layout{Name: "PQH_REG", Bits: 64, Clause: "11.4.11.1", Fields: []reg.Field{
	PqhPQH.Field("PQH", "byte offset of the next request that software takes >> 5"),
}}

// PQTLayout describes PQT_REG.
var PQTLayout = reg.Layout{Name: "PQT_REG", Bits: 64, Clause: "11.4.11.2", Fields: []reg.Field{
	PqtPQT.Field("PQT", "byte offset behind the last request that hardware wrote >> 5"),
}}

// PQALayout describes PQA_REG.
var PQALayout = reg.Layout{Name: "PQA_REG", Bits: 64, Clause: "11.4.11.3", Fields: []reg.Field{
	PqaPQS.Field("PQS", "2^PQS pages"),
	PqaPQA.Field("PQA", "queue address >> 12"),
}}

// PRSLayout describes PRS_REG.
var PRSLayout = reg.Layout{Name: "PRS_REG", Bits: 32, Clause: "11.4.11.4", Fields: []reg.Field{
	PrsPPR.Field("PPR", "page requests pending"),
	PrsPRO.Field("PRO", "page requests were dropped"),
}}
