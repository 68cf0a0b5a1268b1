package spec

import "github.com/iommulab/iommulab/emu/reg"

// PERFCAPLayout describes PERFCAP_REG.
var PERFCAPLayout = reg.Layout{Name: "PERFCAP_REG", Bits: 64, Clause: "11.4.13.2", Fields: []reg.Field{
	PerfcapNCNTR.Field("NCNTR", "number of counters"),
	PerfcapCW.Field("CW", "counter width in bits"),
	PerfcapEGCNT.Field("EGCNT", "number of event groups"),
	PerfcapFS.Field("FS", "filters: 0 requester, 1 domain, 2 PASID, 3 address type, 4 level"),
	PerfcapCWE.Field("CWE", "counters are writable while enabled"),
	PerfcapGFS.Field("GFS", "global freeze on overflow"),
	PerfcapIOS.Field("IOS", "interrupt on overflow"),
	PerfcapPCCS.Field("PCCS", "capability registers per counter"),
	PerfcapCS.Field("CS", "counters are 2^(CS+10) bytes apart"),
}}

// PERFINTRSTSLayout describes PERFINTRSTS_REG.
var PERFINTRSTSLayout = reg.Layout{Name: "PERFINTRSTS_REG", Bits: 32, Clause: "11.4.13.7", Fields: []reg.Field{
	PerfintrPIS.Field("PIS", "a counter that interrupts has overflowed"),
}}

// PERFFRZSTSLayout describes PERFFRZSTS_REG.
var PERFFRZSTSLayout = reg.Layout{Name: "PERFFRZSTS_REG", Bits: 64, Clause: "11.4.13.12", Fields: []reg.Field{
	PerfcntrCNTR.Field("FS", "frozen, by counter"),
}}

// PERFOVFSTSLayout describes PERFOVFSTS_REG.
var PERFOVFSTSLayout = reg.Layout{Name: "PERFOVFSTS_REG", Bits: 64, Clause: "11.4.13.13", Fields: []reg.Field{
	PerfcntrCNTR.Field("OS", "overflowed, by counter"),
}}

// PERFEVNTCAPLayout describes PERFEVNTCAP_REG.
var PERFEVNTCAPLayout = reg.Layout{Name: "PERFEVNTCAP_REG", Bits: 64, Clause: "11.4.13.14", Fields: []reg.Field{
	PerfevntcapES.Field("ES", "events of the group that can be counted"),
}}

// PERFCNTRCFGLayout describes PERFCNTRCFG_REG.
var PERFCNTRCFGLayout = reg.Layout{Name: "PERFCNTRCFG_REG", Bits: 64, Clause: "11.4.13.15", Fields: []reg.Field{
	CntrcfgEN.Field("EN", "enabled, by command"),
	CntrcfgIO.Field("IO", "overflow interrupts"),
	CntrcfgGFO.Field("GFO", "overflow freezes all counters"),
	CntrcfgEGI.Field("EGI", "event group"),
	CntrcfgES.Field("ES", "events of the group to count"),
}}

// PERFCNTRLayout describes PERFCNTR_REG.
var PERFCNTRLayout = reg.Layout{Name: "PERFCNTR_REG", Bits: 64, Clause: "11.4.13.23", Fields: []reg.Field{
	PerfcntrCNTR.Field("CNTR", "count, in the low PERFCAP.CW bits"),
}}

// ECMDLayout describes ECMD_REG.
var ECMDLayout = reg.Layout{Name: "ECMD_REG", Bits: 64, Clause: "11.4.14.1", Fields: []reg.Field{
	EcmdCMD.Field("CMD", "command; writing it starts it"),
	EcmdOA.Field("OA", "operand A"),
}}

// ECEOLayout describes ECEO_REG.
var ECEOLayout = reg.Layout{Name: "ECEO_REG", Bits: 64, Clause: "11.4.14.2", Fields: []reg.Field{
	EceoOB.Field("OB", "operand B"),
}}

// ECRSPLayout describes ECRSP_REG.
var ECRSPLayout = reg.Layout{Name: "ECRSP_REG", Bits: 64, Clause: "11.4.14.3", Fields: []reg.Field{
	EcrspIP.Field("IP", "in progress"),
	EcrspSC.Field("SC", "status: 0 success, 1 undefined, 2 aborted, 16 failed"),
	EcrspRES.Field("RSLT", "result"),
}}
