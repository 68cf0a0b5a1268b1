package spec

import "github.com/iommulab/iommulab/emu/reg"

// DevTabLayout describes Device Table Base and the Segment Base registers.
var DevTabLayout = reg.Layout{Name: "Device Table Base", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	DevTabSize.Field("Size", "length / 4 KiB - 1"),
	DevTabBase.Field("DevTabBase", "address >> 12"),
}}

// RingLayout describes the base registers of the command buffer and the logs.
var RingLayout = reg.Layout{Name: "Ring Base", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	RingBase.Field("Base", "address >> 12"),
	RingLen.Field("Len", "8: 256 entries of 16 bytes; each step doubles it"),
}}

// PtrLayout describes the head and tail pointers of 16-byte rings.
var PtrLayout = reg.Layout{Name: "Ring Pointer", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	RingPtr.Field("Ptr", "byte offset >> 4"),
}}

// GAPtrLayout describes the head and tail pointers of the GA log.
var GAPtrLayout = reg.Layout{Name: "GA Log Pointer", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	GARingPtr.Field("Ptr", "byte offset >> 3"),
}}

// GALogTailAddrLayout describes GA Log Tail Address.
var GALogTailAddrLayout = reg.Layout{Name: "GA Log Tail Address", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	GALogTailAddr.Field("Addr", "address >> 3"),
}}

// ExclBaseLayout describes Exclusion Range Base.
var ExclBaseLayout = reg.Layout{Name: "Exclusion Base", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	ExclEn.Field("ExEn", "exclusion range on"),
	ExclAllow.Field("Allow", "for all devices; 0: those with DTE.EX"),
	ExclAddr.Field("Base", "first address >> 12"),
}}

// ExclLimitLayout describes Exclusion Range Limit.
var ExclLimitLayout = reg.Layout{Name: "Exclusion Limit", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	ExclAddr.Field("Limit", "last page >> 12"),
}}

// HWEventStatusLayout describes Hardware Event Status.
var HWEventStatusLayout = reg.Layout{Name: "HW Event Status", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	HweValid.Field("HEV", "the upper and lower registers hold an event"),
	HweOverflow.Field("HEO", "a further event was lost"),
}}

// ControlLayout describes Control.
var ControlLayout = reg.Layout{Name: "Control", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	CtlIommuEn.Field("IommuEn", "translation on"),
	CtlHtTunEn.Field("HtTunEn", "HyperTransport tunnel"),
	CtlEventLogEn.Field("EventLogEn", "event log on"),
	CtlEventIntEn.Field("EventIntEn", "interrupt on events"),
	CtlComWaitIntEn.Field("ComWaitIntEn", "interrupt on COMPLETION_WAIT"),
	CtlInvTimeOut.Field("InvTimeOut", "0 none, 1 1 ms, 2 10 ms, 3 100 ms, 4 1 s, 5 10 s, 6 100 s"),
	CtlPassPW.Field("PassPW", "HyperTransport attribute"),
	CtlResPassPW.Field("ResPassPW", "HyperTransport attribute"),
	CtlCoherent.Field("Coherent", "table reads are snooped"),
	CtlIsoc.Field("Isoc", "table reads are isochronous"),
	CtlCmdBufEn.Field("CmdBufEn", "command buffer on"),
	CtlPPRLogEn.Field("PPRLogEn", "PPR log on"),
	CtlPprIntEn.Field("PprIntEn", "interrupt on page requests"),
	CtlPPREn.Field("PPREn", "page requests on"),
	CtlGTEn.Field("GTEn", "guest translation on"),
	CtlGAEn.Field("GAEn", "128-bit IRTEs"),
	CtlSmiFEn.Field("SmiFEn", "SMI filter on"),
	CtlSlfWBdis.Field("SlfWBdis", "self write back off"),
	CtlSmiFLogEn.Field("SmiFLogEn", "SMI filter events"),
	CtlGAMEn.Field("GAMEn", "1: IRTE.GuestMode may be set"),
	CtlGALogEn.Field("GALogEn", "GA log on"),
	CtlGAIntEn.Field("GAIntEn", "interrupt on GA log entries"),
	CtlDualPprLogEn.Field("DualPprLogEn", "PPR logs: 0 A, 1 B, 2 both"),
	CtlDualEventLogEn.Field("DualEventLogEn", "event logs: 0 A, 1 B, 2 both"),
	CtlDevTblSegEn.Field("DevTblSegEn", "device table segments, log2"),
	CtlPrivAbrtEn.Field("PrivAbrtEn", "abort privileged requests"),
	CtlPprAutoRspEn.Field("PprAutoRspEn", "answer page requests while the log is full"),
	CtlMarcEn.Field("MarcEn", "memory access routing on"),
	CtlBlkStopMrkEn.Field("BlkStopMrkEn", "block stop marks"),
	CtlPprAutoRspAon.Field("PprAutoRspAon", "answer all page requests"),
	CtlNumIntRemapMode.Field("NumIntRemapMode", "0: 512 interrupts per function, 1: 2048"),
	CtlEPHEn.Field("EPHEn", "DTE.PPR and DTE.GPRP count"),
	CtlHADUpdate.Field("HADUpdate", "host accessed and dirty update mode"),
	CtlGDUpdateDis.Field("GDUpdateDis", "no dirty updates in guest tables"),
	CtlXTEn.Field("XTEn", "32-bit destinations"),
	CtlIntCapXTEn.Field("IntCapXTEn", "own interrupts from 170h to 180h"),
	CtlVCmdEn.Field("vCmdEn", "virtual command buffers"),
	CtlVIommuEn.Field("vIommuEn", "virtual IOMMU"),
	CtlGAUpdateDis.Field("GAUpdateDis", "no accessed updates in guest tables"),
	CtlGAPPIEn.Field("GAPPIEn", "guest APIC physical processor interrupt"),
	CtlTMPMEn.Field("TMPMEn", "tiered memory page migration"),
	CtlGCR3TRPMode.Field("GCR3TRPMode", "the GCR3 table root is a GPA"),
	CtlIRTCacheDis.Field("IRTCacheDis", "IRTEs are not cached"),
	CtlGstBufferTRP.Field("GstBufferTRPMode", "guest buffer pointers are GPAs"),
	CtlSNPAVICEn.Field("SNPAVICEn", "guest APIC with SNP"),
}}

// StatusLayout describes Status.
var StatusLayout = reg.Layout{Name: "Status", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	StsEventOverflow.Field("EventOverflow", "event log overflow"),
	StsEventLogInt.Field("EventLogInt", "event logged"),
	StsComWaitInt.Field("ComWaitInt", "COMPLETION_WAIT with I completed"),
	StsEventLogRun.Field("EventLogRun", "event log runs"),
	StsCmdBufRun.Field("CmdBufRun", "command buffer runs"),
	StsPprOverflow.Field("PprOverflow", "PPR log overflow"),
	StsPprInt.Field("PprInt", "page request logged"),
	StsPPRLogRun.Field("PPRLogRun", "PPR log runs"),
	StsGALogRun.Field("GALogRun", "GA log runs"),
	StsGALOverflow.Field("GALOverflow", "GA log overflow"),
	StsGAInt.Field("GAInt", "GA log entry written"),
	StsPprOvrflwB.Field("PprOvrflwB", "PPR log B overflow"),
	StsPprActive.Field("PprLogActive", "PPR log B is in use"),
	StsEventOvrflwB.Field("EventOvrflwB", "event log B overflow"),
	StsEventActive.Field("EventLogActive", "event log B is in use"),
	StsPprEarlyB.Field("PprOvrflwEarlyB", "PPR log B nearly full"),
	StsPprEarly.Field("PprOvrflwEarly", "PPR log nearly full"),
}}

// PPRAutoResponseLayout describes PPR Auto Response.
var PPRAutoResponseLayout = reg.Layout{Name: "PPR Auto Response", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	ParCode.Field("Code", "response code"),
	ParMaskGN.Field("MaskGN", "without PASID"),
}}

// PPROverflowEarlyLayout describes PPR Log Overflow Early Indicator.
var PPROverflowEarlyLayout = reg.Layout{Name: "PPR Overflow Early", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	PoeThreshold.Field("Threshold", "entries in use from which on it is set"),
	PoeIntEn.Field("IntEn", "interrupt"),
	PoeEn.Field("En", "on"),
}}

// MSICapLayout describes the mirror of the MSI capability header.
var MSICapLayout = reg.Layout{Name: "MSI Capability Header", Bits: 32, Clause: "3.4", Fields: []reg.Field{
	MsiCapID.Field("CapId", "5"),
	MsiCapNext.Field("Next", "next capability"),
	MsiEn.Field("MsiEn", "messages on"),
	MsiMMC.Field("MultMessCap", "messages that can be had, log2"),
	MsiMME.Field("MultMessEn", "messages to be used, log2"),
	Msi64.Field("Msi64En", "64-bit addresses"),
}}

// XTIntLayout describes the interrupt control registers of IntCapXTEn.
var XTIntLayout = reg.Layout{Name: "XT Interrupt Control", Bits: 64, Clause: "3.4", Fields: []reg.Field{
	XtDestMode.Field("DestMode", "1: logical"),
	XtDestLo.Field("DestLo", "destination 23:0"),
	XtVector.Field("Vector", "vector"),
	XtDM.Field("DM", "delivery mode: 0 fixed, 1 lowest priority"),
	XtDestHi.Field("DestHi", "destination 31:24"),
}}
