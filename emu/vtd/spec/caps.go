package spec

import "github.com/iommulab/iommulab/emu/reg"

// VER_REG, 11.4.1.
const (
	VerMin reg.Bits = 3_000
	VerMax reg.Bits = 7_004 // major
)

// CAP_REG, 11.4.2.
const (
	CapND       reg.Bits = 2_000
	CapAFL      reg.Bits = 3_003
	CapRWBF     reg.Bits = 4_004
	CapPLMR     reg.Bits = 5_005
	CapPHMR     reg.Bits = 6_006
	CapCM       reg.Bits = 7_007
	CapSAGAW    reg.Bits = 12_008
	CapMGAW     reg.Bits = 21_016
	CapZLR      reg.Bits = 22_022
	CapFRO      reg.Bits = 33_024
	CapSSLPS    reg.Bits = 37_034
	CapPSI      reg.Bits = 39_039
	CapNFR      reg.Bits = 47_040
	CapMAMV     reg.Bits = 53_048
	CapDWD      reg.Bits = 54_054
	CapDRD      reg.Bits = 55_055
	CapFS1GP    reg.Bits = 56_056
	CapPI       reg.Bits = 59_059
	CapFS5LP    reg.Bits = 60_060
	CapECMDS    reg.Bits = 61_061
	CapESIRTPS  reg.Bits = 62_062
	CapESRTPS   reg.Bits = 63_063
	SAGAW39     uint64   = 1 << 1 // values of CapSAGAW: 3 levels
	SAGAW48     uint64   = 1 << 2 // 4 levels
	SAGAW57     uint64   = 1 << 3 // 5 levels
	SSLPS2M     uint64   = 1 << 0 // values of CapSSLPS
	SSLPS1G     uint64   = 1 << 1
	MaxFaultRec          = 256 // NFR+1 at most
)

// ECAP_REG, 11.4.3.
const (
	EcapC      reg.Bits = 0_000
	EcapQI     reg.Bits = 1_001
	EcapDT     reg.Bits = 2_002
	EcapIR     reg.Bits = 3_003
	EcapEIM    reg.Bits = 4_004
	EcapPT     reg.Bits = 6_006
	EcapSC     reg.Bits = 7_007
	EcapIRO    reg.Bits = 17_008
	EcapMHMV   reg.Bits = 23_020
	EcapMTS    reg.Bits = 25_025
	EcapNEST   reg.Bits = 26_026
	EcapPRS    reg.Bits = 29_029
	EcapERS    reg.Bits = 30_030
	EcapSRS    reg.Bits = 31_031
	EcapNWFS   reg.Bits = 33_033
	EcapEAFS   reg.Bits = 34_034
	EcapPSS    reg.Bits = 39_035
	EcapPASID  reg.Bits = 40_040
	EcapDIT    reg.Bits = 41_041
	EcapPDS    reg.Bits = 42_042
	EcapSMTS   reg.Bits = 43_043
	EcapVCS    reg.Bits = 44_044
	EcapSSADS  reg.Bits = 45_045
	EcapSSTS   reg.Bits = 46_046
	EcapFSTS   reg.Bits = 47_047
	EcapSMPWCS reg.Bits = 48_048
	EcapRPS    reg.Bits = 49_049
	EcapTDXIO  reg.Bits = 50_050
	EcapPMS    reg.Bits = 51_051
	EcapADMS   reg.Bits = 52_052
	EcapRPRIVS reg.Bits = 53_053
	EcapHPTS   reg.Bits = 55_055
	EcapPTRS   reg.Bits = 56_056
	EcapSMS    reg.Bits = 58_058
	EcapEIMER  reg.Bits = 61_061
	EcapIRREQ  reg.Bits = 62_062
)

// VERLayout describes VER_REG.
var VERLayout = reg.Layout{Name: "VER_REG", Bits: 32, Clause: "11.4.1", Fields: []reg.Field{
	VerMin.Field("MIN", "minor version"),
	VerMax.Field("MAX", "major version; 6 and above have no register-based invalidation"),
}}

// CAPLayout describes CAP_REG.
var CAPLayout = reg.Layout{Name: "CAP_REG", Bits: 64, Clause: "11.4.2", Fields: []reg.Field{
	CapND.Field("ND", "domains: 2^(4+2*ND)"),
	CapAFL.Field("AFL", "advanced fault logging"),
	CapRWBF.Field("RWBF", "write-buffer flush required"),
	CapPLMR.Field("PLMR", "protected low-memory region"),
	CapPHMR.Field("PHMR", "protected high-memory region"),
	CapCM.Field("CM", "caching mode: not-present entries may be cached"),
	CapSAGAW.Field("SAGAW", "second-stage widths: bit 1 39, bit 2 48, bit 3 57"),
	CapMGAW.Field("MGAW", "maximum guest address width - 1"),
	CapZLR.Field("ZLR", "zero-length reads of write-only pages"),
	CapFRO.Field("FRO", "offset of the fault records / 16"),
	CapSSLPS.Field("SSLPS", "second-stage large pages: bit 0 2M, bit 1 1G"),
	CapPSI.Field("PSI", "page-selective invalidation"),
	CapNFR.Field("NFR", "fault records - 1"),
	CapMAMV.Field("MAMV", "maximum address mask"),
	CapDWD.Field("DWD", "write draining"),
	CapDRD.Field("DRD", "read draining"),
	CapFS1GP.Field("FS1GP", "first-stage 1G pages"),
	CapPI.Field("PI", "posted interrupts"),
	CapFS5LP.Field("FS5LP", "first-stage 5-level paging"),
	CapECMDS.Field("ECMDS", "enhanced commands"),
	CapESIRTPS.Field("ESIRTPS", "SIRTP invalidates the interrupt-entry cache"),
	CapESRTPS.Field("ESRTPS", "SRTP invalidates the translation caches"),
}}

// ECAPLayout describes ECAP_REG.
var ECAPLayout = reg.Layout{Name: "ECAP_REG", Bits: 64, Clause: "11.4.3", Fields: []reg.Field{
	EcapC.Field("C", "page-walk coherency"),
	EcapQI.Field("QI", "queued invalidation"),
	EcapDT.Field("DT", "device-TLB"),
	EcapIR.Field("IR", "interrupt remapping"),
	EcapEIM.Field("EIM", "extended interrupt mode (x2APIC)"),
	EcapPT.Field("PT", "pass-through"),
	EcapSC.Field("SC", "snoop control"),
	EcapIRO.Field("IRO", "offset of IVA and IOTLB registers / 16"),
	EcapMHMV.Field("MHMV", "maximum handle mask"),
	EcapMTS.Field("MTS", "memory types"),
	EcapNEST.Field("NEST", "nested translation"),
	EcapPRS.Field("PRS", "page requests"),
	EcapERS.Field("ERS", "execute requests"),
	EcapSRS.Field("SRS", "supervisor requests"),
	EcapNWFS.Field("NWFS", "no-write flag"),
	EcapEAFS.Field("EAFS", "extended accessed flag"),
	EcapPSS.Field("PSS", "PASID bits - 1"),
	EcapPASID.Field("PASID", "requests with PASID"),
	EcapDIT.Field("DIT", "device-TLB invalidation throttle"),
	EcapPDS.Field("PDS", "page-request drain"),
	EcapSMTS.Field("SMTS", "scalable mode"),
	EcapVCS.Field("VCS", "virtual commands"),
	EcapSSADS.Field("SSADS", "second-stage accessed and dirty"),
	EcapSSTS.Field("SSTS", "second-stage translation"),
	EcapFSTS.Field("FSTS", "first-stage translation"),
	EcapSMPWCS.Field("SMPWCS", "scalable-mode page-walk coherency"),
	EcapRPS.Field("RPS", "RID_PASID field"),
	EcapTDXIO.Field("TDXIO", "TDX connect"),
	EcapPMS.Field("PMS", "performance monitoring"),
	EcapADMS.Field("ADMS", "abort-DMA mode"),
	EcapRPRIVS.Field("RPRIVS", "RID_PRIV field"),
	EcapHPTS.Field("HPTS", "host permission table"),
	EcapPTRS.Field("PTRS", "PASID in translated requests"),
	EcapSMS.Field("SMS", "stop marker"),
	EcapEIMER.Field("EIMER", "extended interrupt mode required"),
	EcapIRREQ.Field("IRREQ", "interrupt remapping required"),
}}
