package spec

import "github.com/iommulab/iommulab/emu/reg"

// Extended Feature Register, 3.4.
const (
	EfrPreFSup         reg.Bits = 0_000
	EfrPPRSup          reg.Bits = 1_001
	EfrXTSup           reg.Bits = 2_002
	EfrNXSup           reg.Bits = 3_003
	EfrGTSup           reg.Bits = 4_004
	EfrGAPPISup        reg.Bits = 5_005
	EfrIASup           reg.Bits = 6_006
	EfrGASup           reg.Bits = 7_007
	EfrHESup           reg.Bits = 8_008
	EfrPCSup           reg.Bits = 9_009
	EfrHATS            reg.Bits = 11_010
	EfrGATS            reg.Bits = 13_012
	EfrGLXSup          reg.Bits = 15_014
	EfrSmiFSup         reg.Bits = 17_016
	EfrSmiFRC          reg.Bits = 20_018
	EfrGAMSup          reg.Bits = 23_021
	EfrDualPprLogSup   reg.Bits = 25_024
	EfrDualEventLogSup reg.Bits = 29_028
	EfrSATSSup         reg.Bits = 31_031
	EfrPASmax          reg.Bits = 36_032
	EfrUSSup           reg.Bits = 37_037
	EfrDevTblSegSup    reg.Bits = 39_038
	EfrPprEarlySup     reg.Bits = 40_040
	EfrPPRAutoRspSup   reg.Bits = 41_041
	EfrMarcSup         reg.Bits = 43_042
	EfrBlkStopMrkSup   reg.Bits = 44_044
	EfrPerfOptSup      reg.Bits = 45_045
	EfrMsiCapMmioSup   reg.Bits = 46_046
	EfrGIoSup          reg.Bits = 48_048
	EfrHASup           reg.Bits = 49_049
	EfrEPHSup          reg.Bits = 50_050
	EfrAttrFWSup       reg.Bits = 51_051
	EfrHDSup           reg.Bits = 52_052
	EfrInvIotlbTypeSup reg.Bits = 54_054
	EfrVIommuSup       reg.Bits = 55_055
	EfrVmGuardIoSup    reg.Bits = 56_056
	EfrVmTableSize     reg.Bits = 60_057
	EfrGAUpdateDisSup  reg.Bits = 61_061
	EfrForcePhyDestSup reg.Bits = 62_062
	EfrSNPSup          reg.Bits = 63_063

	HATS4 = 0 // values of EfrHATS and EfrGATS: levels - 4
	HATS5 = 1
	HATS6 = 2
	GATS4 = 0
	GATS5 = 1
)

// Extended Feature 2 Register, 3.4.
const (
	Efr2SEVSNPIOSup    reg.Bits = 1_001
	Efr2TMPMSup        reg.Bits = 2_002
	Efr2GCR3TRPModeSup reg.Bits = 3_003
	Efr2GAPPIDisSup    reg.Bits = 4_004
	Efr2SNPAVICSup     reg.Bits = 7_005
	Efr2NumIntRemapSup reg.Bits = 9_008
	Efr2HtRangeIgnore  reg.Bits = 11_011
	Efr2SNPMode0Sup    reg.Bits = 13_013

	NumIntRemap512  = 0 // values of Efr2NumIntRemapSup
	NumIntRemap2048 = 1
)

// EFRLayout describes the Extended Feature Register.
var EFRLayout = reg.Layout{Name: "EFR", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	EfrPreFSup.Field("PreFSup", "PREFETCH_IOMMU_PAGES"),
	EfrPPRSup.Field("PPRSup", "peripheral page requests"),
	EfrXTSup.Field("XTSup", "x2APIC"),
	EfrNXSup.Field("NXSup", "no-execute"),
	EfrGTSup.Field("GTSup", "guest translation"),
	EfrGAPPISup.Field("GAPPISup", "guest APIC physical processor interrupt"),
	EfrIASup.Field("IASup", "INVALIDATE_IOMMU_ALL"),
	EfrGASup.Field("GASup", "guest virtual APIC, 128-bit IRTEs"),
	EfrHESup.Field("HESup", "hardware error registers"),
	EfrPCSup.Field("PCSup", "performance counters"),
	EfrHATS.Field("HATS", "host levels: 0 four, 1 five, 2 six"),
	EfrGATS.Field("GATS", "guest levels: 0 four, 1 five"),
	EfrGLXSup.Field("GLXSup", "GCR3 table levels - 1"),
	EfrSmiFSup.Field("SmiFSup", "SMI filter"),
	EfrSmiFRC.Field("SmiFRC", "SMI filter registers, log2"),
	EfrGAMSup.Field("GAMSup", "guest APIC modes: bit 0 IRTE.GuestMode"),
	EfrDualPprLogSup.Field("DualPprLogSup", "two PPR logs"),
	EfrDualEventLogSup.Field("DualEventLogSup", "two event logs"),
	EfrSATSSup.Field("SATSSup", "secure ATS"),
	EfrPASmax.Field("PASmax", "PASID bits - 1"),
	EfrUSSup.Field("USSup", "user and supervisor protection"),
	EfrDevTblSegSup.Field("DevTblSegSup", "device table segments, log2"),
	EfrPprEarlySup.Field("PprOvrflwEarlySup", "early PPR log overflow"),
	EfrPPRAutoRspSup.Field("PPRAutoRspSup", "PPR auto response"),
	EfrMarcSup.Field("MarcSup", "memory access routing"),
	EfrBlkStopMrkSup.Field("BlkStopMrkSup", "block stop marks"),
	EfrPerfOptSup.Field("PerfOptSup", "performance optimisation"),
	EfrMsiCapMmioSup.Field("MsiCapMmioSup", "MSI capability mirrored in the window"),
	EfrGIoSup.Field("GIoSup", "guest I/O protection: DTE.GIoV"),
	EfrHASup.Field("HASup", "host accessed flags"),
	EfrEPHSup.Field("EPHSup", "enhanced PPR handling"),
	EfrAttrFWSup.Field("AttrFWSup", "attribute forward"),
	EfrHDSup.Field("HDSup", "host dirty flags"),
	EfrInvIotlbTypeSup.Field("InvIotlbTypeSup", "type of INVALIDATE_IOTLB_PAGES"),
	EfrVIommuSup.Field("vIommuSup", "virtual IOMMU"),
	EfrVmGuardIoSup.Field("VmGuardIoSup", "VM guard I/O"),
	EfrVmTableSize.Field("VmTableSize", "VM table size"),
	EfrGAUpdateDisSup.Field("GAUpdateDisSup", "guest accessed updates can be disabled"),
	EfrForcePhyDestSup.Field("ForcePhyDestSup", "physical destination mode forced"),
	EfrSNPSup.Field("SNPSup", "secure nested paging"),
}}

// EFR2Layout describes the Extended Feature 2 Register.
var EFR2Layout = reg.Layout{Name: "EFR2", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	Efr2SEVSNPIOSup.Field("SEVSNPIOSup", "SEV-TIO"),
	Efr2TMPMSup.Field("TMPMSup", "tiered memory page migration"),
	Efr2GCR3TRPModeSup.Field("GCR3TRPModeSup", "GCR3 table root may be a GPA"),
	Efr2GAPPIDisSup.Field("GAPPIDisSup", "IRTE.GAPPIDis"),
	Efr2SNPAVICSup.Field("SNPAVICSup", "interrupt remapping with SNP"),
	Efr2NumIntRemapSup.Field("NumIntRemapSup", "0: 512 interrupts per function, 1: 2048"),
	Efr2HtRangeIgnore.Field("HtRangeIgnore", "the HyperTransport range is ordinary address space"),
	Efr2SNPMode0Sup.Field("SNPMode0Sup", "DTE.Mode=0 with SNP"),
}}
