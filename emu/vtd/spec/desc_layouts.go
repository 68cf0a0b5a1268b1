package spec

import (
	"slices"

	"github.com/iommulab/iommulab/emu/reg"
)

// descFields adds the type, which every descriptor has, and sorts.
func descFields(f ...reg.Field) []reg.Field {
	f = append(f,
		DescTypeLo.Field("TYPE", "descriptor type, low part"),
		DescTypeHi.Field("TYPEH", "descriptor type, high part"))
	slices.SortFunc(f, func(a, b reg.Field) int { return int(a.Lo) - int(b.Lo) })
	return f
}

// DescLayouts describes the invalidation descriptors by type. The upper half of a 256-bit
// descriptor is reserved in all of them.
var DescLayouts = map[uint8]*reg.Layout{
	DescContext: {Name: "cc_inv_dsc", Bits: 128, Clause: "6.5.2.1", Fields: descFields(
		CcG.Field("G", "1 global, 2 domain, 3 device"),
		CcDID.Field("DID", "domain"),
		CcSID.Field("SID", "source"),
		CcFM.Field("FM", "function mask"),
	)},
	DescPASIDCache: {Name: "pc_inv_dsc", Bits: 128, Clause: "6.5.2.2", Fields: descFields(
		PcG.Field("G", "0 domain, 1 PASID, 3 global"),
		PcDID.Field("DID", "domain"),
		PcPASID.Field("PASID", "process address space"),
	)},
	DescIOTLB: {Name: "iotlb_inv_dsc", Bits: 128, Clause: "6.5.2.3", Fields: descFields(
		IiG.Field("G", "1 global, 2 domain, 3 page"),
		IiDW.Field("DW", "drain writes"),
		IiDR.Field("DR", "drain reads"),
		IiDID.Field("DID", "domain"),
		IiAM.Field("AM", "address mask: 2^AM pages"),
		IiIH.Field("IH", "only leaves changed"),
		IiADDR.Field("ADDR", "address >> 12"),
	)},
	DescPASIDIOTLB: {Name: "p_iotlb_inv_dsc", Bits: 128, Clause: "6.5.2.4", Fields: descFields(
		PiG.Field("G", "2 PASID, 3 page"),
		PiDID.Field("DID", "domain"),
		PiPASID.Field("PASID", "process address space"),
		PiAM.Field("AM", "address mask: 2^AM pages"),
		PiIH.Field("IH", "only leaves changed"),
		PiADDR.Field("ADDR", "address >> 12"),
	)},
	DescDevTLB: {Name: "dev_tlb_inv_dsc", Bits: 128, Clause: "6.5.2.5", Fields: descFields(
		DtPFSIDLo.Field("PFSIDL", "physical function 3:0"),
		DtMIP.Field("MIP", "maximum pending, 0 is 32"),
		DtSID.Field("SID", "source"),
		DtPFSIDHi.Field("PFSIDH", "physical function 15:4"),
		DtS.Field("S", "size is in ADDR"),
		DtADDR.Field("ADDR", "address >> 12"),
	)},
	DescPASIDDevTLB: {Name: "p_dev_tlb_inv_dsc", Bits: 128, Clause: "6.5.2.6", Fields: descFields(
		PdMIP.Field("MIP", "maximum pending, 0 is 32"),
		PdPFSIDLo.Field("PFSIDL", "physical function 3:0"),
		PdSID.Field("SID", "source"),
		PdPASID.Field("PASID", "process address space"),
		PdPFSIDHi.Field("PFSIDH", "physical function 15:4"),
		PdG.Field("G", "all PASIDs of the source"),
		PdS.Field("S", "size is in ADDR"),
		PdADDR.Field("ADDR", "address >> 12"),
	)},
	DescIEC: {Name: "iec_inv_dsc", Bits: 128, Clause: "6.5.2.8", Fields: descFields(
		IeG.Field("G", "0 global, 1 index"),
		IeIM.Field("IM", "index mask: 2^IM entries"),
		IeIIDX.Field("IIDX", "interrupt index"),
	)},
	DescWait: {Name: "inv_wait_dsc", Bits: 128, Clause: "6.5.2.9", Fields: descFields(
		IwIF.Field("IF", "interrupt on completion"),
		IwSW.Field("SW", "status write"),
		IwFN.Field("FN", "fence"),
		IwPD.Field("PD", "page-request drain"),
		IwDATA.Field("DATA", "status data"),
		IwSADDR.Field("SADDR", "status address >> 2"),
	)},
	DescPageGroup: {Name: "page_grp_resp_dsc", Bits: 128, Clause: "7.6.1", Fields: descFields(
		PgPP.Field("PP", "PASID present"),
		PgRC.Field("RC", "response code"),
		PgRID.Field("RID", "requester"),
		PgPASID.Field("PASID", "process address space"),
		PgLPIG.Field("LPIG", "ignored by hardware"),
		PgPRGI.Field("PRGI", "page request group index"),
	)},
}

// PageRequestLayout describes an entry of the page-request queue.
var PageRequestLayout = reg.Layout{Name: "page_req_dsc", Bits: 256, Clause: "7.4.1.1", Fields: []reg.Field{
	PrType.Field("TYPE", "1"),
	PrPP.Field("PP", "PASID present"),
	PrRID.Field("RID", "requester"),
	PrPASID.Field("PASID", "process address space"),
	PrEXE.Field("EXE", "execute requested"),
	PrPRIV.Field("PRIV", "privileged"),
	PrR.Field("R", "read"),
	PrW.Field("W", "write"),
	PrLPIG.Field("LPIG", "last page in group"),
	PrPRGI.Field("PRGI", "page request group index"),
	PrADDR.Field("ADDR", "address >> 12"),
}}

// FRCDLayout describes a fault recording register.
var FRCDLayout = reg.Layout{Name: "FRCD_REG", Bits: 128, Clause: "11.4.7.6", Fields: []reg.Field{
	FrFI.Field("FI", "page address >> 12, or interrupt index << 36"),
	FrSID.Field("SID", "source"),
	FrT2.Field("T2", "with T1: 0 write, 1 read, 2 page request, 3 AtomicOp"),
	FrPRIV.Field("PRIV", "privileged"),
	FrEXE.Field("EXE", "execute"),
	FrPP.Field("PP", "request had a PASID"),
	FrFR.Field("FR", "fault reason"),
	FrPV.Field("PV", "PASID"),
	FrAT.Field("AT", "address type"),
	FrT1.Field("T1", "see T2"),
	FrF.Field("F", "record holds a fault"),
}}
