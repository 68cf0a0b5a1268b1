package spec

import "github.com/iommulab/iommulab/emu/reg"

// IDR0Layout describes IDR0.
var IDR0Layout = reg.Layout{Name: "IDR0", Bits: 32, Clause: "6.3.1", Fields: []reg.Field{
	Idr0S2P.Field("S2P", "stage 2"),
	Idr0S1P.Field("S1P", "stage 1"),
	Idr0TTF.Field("TTF", "table formats: bit 0 VMSAv8-32 LPAE, bit 1 VMSAv8-64"),
	Idr0COHACC.Field("COHACC", "structures and queues may be accessed coherently"),
	Idr0BTM.Field("BTM", "broadcast TLB maintenance"),
	Idr0HTTU.Field("HTTU", "flag updates: 0 none, 1 access, 2 and dirty, 3 and of table descriptors"),
	Idr0DORMHINT.Field("DORMHINT", "dormant hint"),
	Idr0HYP.Field("HYP", "EL2 stage 1 contexts"),
	Idr0ATS.Field("ATS", "ATS"),
	Idr0NS1ATS.Field("NS1ATS", "1: split-stage ATS not supported"),
	Idr0ASID16.Field("ASID16", "16-bit ASIDs"),
	Idr0MSI.Field("MSI", "interrupts as messages"),
	Idr0SEV.Field("SEV", "WFE wake-up events"),
	Idr0ATOS.Field("ATOS", "address translation registers"),
	Idr0PRI.Field("PRI", "page request queue"),
	Idr0VMW.Field("VMW", "VMID wildcards"),
	Idr0VMID16.Field("VMID16", "16-bit VMIDs"),
	Idr0CD2L.Field("CD2L", "two-level CD tables"),
	Idr0VATOS.Field("VATOS", "virtual ATOS page"),
	Idr0TTENDIAN.Field("TTENDIAN", "endianness of tables: 0 mixed, 2 little, 3 big"),
	Idr0ATSRECERR.Field("ATSRECERR", "CR2.REC_CFG_ATS"),
	Idr0StallModel.Field("STALL_MODEL", "0 stall and terminate, 1 never stall, 2 always stall"),
	Idr0TermModel.Field("TERM_MODEL", "1: CD.A must be 1"),
	Idr0STLevel.Field("ST_LEVEL", "stream table: 0 linear, 1 also two-level"),
	Idr0RMEImpl.Field("RME_IMPL", "realm management extension"),
}}

// IDR1Layout describes IDR1.
var IDR1Layout = reg.Layout{Name: "IDR1", Bits: 32, Clause: "6.3.2", Fields: []reg.Field{
	Idr1SIDSIZE.Field("SIDSIZE", "StreamID bits"),
	Idr1SSIDSIZE.Field("SSIDSIZE", "SubstreamID bits"),
	Idr1PRIQS.Field("PRIQS", "PRI queue entries, log2"),
	Idr1EVENTQS.Field("EVENTQS", "event queue entries, log2"),
	Idr1CMDQS.Field("CMDQS", "command queue entries, log2"),
	Idr1AttrPermsOvr.Field("ATTR_PERMS_OVR", "PRIVCFG and INSTCFG"),
	Idr1AttrTypesOvr.Field("ATTR_TYPES_OVR", "MTCFG, MemAttr, ALLOCCFG and SHCFG"),
	Idr1REL.Field("REL", "preset bases are relative to the registers"),
	Idr1QueuesPreset.Field("QUEUES_PRESET", "queue bases are fixed"),
	Idr1TablesPreset.Field("TABLES_PRESET", "table bases are fixed"),
	Idr1ECMDQ.Field("ECMDQ", "enhanced command queues"),
}}

// IDR2Layout describes IDR2.
var IDR2Layout = reg.Layout{Name: "IDR2", Bits: 32, Clause: "6.3.3", Fields: []reg.Field{
	Idr2BAVATOS.Field("BA_VATOS", "VATOS page"),
}}

// IDR3Layout describes IDR3.
var IDR3Layout = reg.Layout{Name: "IDR3", Bits: 32, Clause: "6.3.4", Fields: []reg.Field{
	Idr3HAD.Field("HAD", "hierarchical attribute disable"),
	Idr3PBHA.Field("PBHA", "page-based hardware attributes"),
	Idr3XNX.Field("XNX", "two XN bits at stage 2"),
	Idr3PPS.Field("PPS", "PASID in automatic PRI responses"),
	Idr3MPAM.Field("MPAM", "memory partitioning and monitoring"),
	Idr3FWB.Field("FWB", "stage 2 forces write-back"),
	Idr3STT.Field("STT", "small translation tables"),
	Idr3RIL.Field("RIL", "range invalidation, level hint"),
	Idr3BBML.Field("BBML", "break-before-make level"),
	Idr3E0PD.Field("E0PD", "unprivileged accesses kept from a half"),
	Idr3PTWNNC.Field("PTWNNC", "table walks of device memory are normal non-cacheable"),
	Idr3DPT.Field("DPT", "device permission table"),
	Idr3PASIDTT.Field("PASIDTT", "PASID on translated transactions"),
	Idr3EPAN.Field("EPAN", "enhanced PAN"),
	Idr3S1PI.Field("S1PI", "stage 1 permission indirection"),
	Idr3S2PI.Field("S2PI", "stage 2 permission indirection"),
	Idr3S2PO.Field("S2PO", "stage 2 permission overlays"),
	Idr3THE.Field("THE", "translation hardening"),
	Idr3MTEPERM.Field("MTEPERM", "MTE permission attribute"),
	Idr3AIE.Field("AIE", "attribute indexes of 4 bits"),
}}

// IDR5Layout describes IDR5.
var IDR5Layout = reg.Layout{Name: "IDR5", Bits: 32, Clause: "6.3.6", Fields: []reg.Field{
	Idr5OAS.Field("OAS", "output address bits: 32, 36, 40, 42, 44, 48, 52, 56"),
	Idr5GRAN4K.Field("GRAN4K", "4 KiB granule"),
	Idr5GRAN16K.Field("GRAN16K", "16 KiB granule"),
	Idr5GRAN64K.Field("GRAN64K", "64 KiB granule"),
	Idr5DS.Field("DS", "52-bit addresses with 4 KiB and 16 KiB granules"),
	Idr5D128.Field("D128", "128-bit descriptors"),
	Idr5VAX.Field("VAX", "virtual address bits: 48, 52, 56"),
	Idr5StallMax.Field("STALL_MAX", "transactions that may be stalled"),
}}

// IIDRLayout describes IIDR.
var IIDRLayout = reg.Layout{Name: "IIDR", Bits: 32, Clause: "6.3.7", Fields: []reg.Field{
	IidrImplementer.Field("Implementer", "JEP106 code"),
	IidrRevision.Field("Revision", "revision"),
	IidrVariant.Field("Variant", "variant"),
	IidrProductID.Field("ProductID", "product"),
}}

// AIDRLayout describes AIDR.
var AIDRLayout = reg.Layout{Name: "AIDR", Bits: 32, Clause: "6.3.8", Fields: []reg.Field{
	AidrMinor.Field("ArchMinorRev", "SMMUv3.n"),
	AidrMajor.Field("ArchMajorRev", "0: SMMUv3"),
}}
