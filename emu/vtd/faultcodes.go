package vtd

import "fmt"

// Fault reasons: 5.1.4.1 (interrupts) and 7.1.3 (table 30). Those of legacy mode and of scalable mode (SM) differ for one cause.
const (
	FaultRootAbsent        = 0x01
	FaultContextAbsent     = 0x02
	FaultContextInvalid    = 0x03
	FaultWidth             = 0x04
	FaultWrite             = 0x05
	FaultRead              = 0x06
	FaultSSRead            = 0x07
	FaultRootRead          = 0x08
	FaultContextRead       = 0x09
	FaultRootReserved      = 0x0a
	FaultContextReserved   = 0x0b
	FaultSSReserved        = 0x0c
	FaultBlockedATS        = 0x0d
	FaultOutputRange       = 0x0e
	FaultIRRequest         = 0x20
	FaultIRIndex           = 0x21
	FaultIRTEAbsent        = 0x22
	FaultIRTERead          = 0x23
	FaultIRTEReserved      = 0x24
	FaultCompatibility     = 0x25
	FaultIRTESource        = 0x26
	FaultPIDAccess         = 0x27
	FaultPIDReserved       = 0x28
	FaultIllegalInterrupt  = 0x29
	FaultEIMRequired       = 0x2a
	FaultIRRequired        = 0x2b
	FaultTTM               = 0x30
	FaultLegacyPASID       = 0x31
	FaultLegacyPageRequest = 0x32
	FaultAbortMode         = 0x33
	FaultExecute           = 0x34
	FaultRootReadSM        = 0x38
	FaultRootAbsentSM      = 0x39
	FaultRootReservedSM    = 0x3a
	FaultContextReadSM     = 0x40
	FaultContextAbsentSM   = 0x41
	FaultContextReservedSM = 0x42
	FaultContextInvalidSM  = 0x43
	FaultBlockedATSSM      = 0x44
	FaultBlockedPASID      = 0x45
	FaultPASIDRange        = 0x46
	FaultBlockedPRS        = 0x47
	FaultRIDPASID          = 0x48
	FaultNoEPTR            = 0x49
	FaultPASIDDirRead      = 0x50
	FaultPASIDDirAbsent    = 0x51
	FaultPASIDDirReserved  = 0x52
	FaultPASIDRead         = 0x58
	FaultPASIDAbsent       = 0x59
	FaultPASIDReserved     = 0x5a
	FaultPASIDInvalid      = 0x5b
	FaultExecDisabled      = 0x5c
	FaultPrivDisabled      = 0x5d
	FaultFSRead            = 0x70
	FaultFSAbsent          = 0x71
	FaultFSReserved        = 0x72
	FaultFSTopRead         = 0x73
	FaultFSWidth           = 0x74
	FaultFSTopDenied       = 0x75
	FaultFSReadDenied      = 0x76
	FaultFSWriteDenied     = 0x77
	FaultSSReadSM          = 0x78
	FaultSSAbsent          = 0x79
	FaultSSReservedSM      = 0x7a
	FaultSSTopRead         = 0x7b
	FaultSSNoncoherent     = 0x7c
	FaultSSUpdate          = 0x7d
	FaultCanonical         = 0x80
	FaultUser              = 0x81
	FaultExec              = 0x82
	FaultHAW               = 0x83
	FaultWidthSM           = 0x84
	FaultWriteSM           = 0x85
	FaultReadSM            = 0x86
	FaultOutputRangeSM     = 0x87
	FaultPASIDSize         = 0x89
	FaultFSNoncoherent     = 0x90
	FaultFSUpdate          = 0x91
)

// Reasons to block a request that the specification gives no number: they are never recorded. Those
// named No... are uses of what this unit does not model.
const (
	FaultProtected       = 0x101 // protected memory region
	FaultDisabled        = 0x102 // ATS or page request while TES=0
	FaultNoRemapping     = 0x103 // interrupt while IRES=1 in a snapshot of a unit without interrupt remapping
	FaultPageOverflow    = 0x105 // page request while the queue was full, or PRO=1
	FaultPageWrite       = 0x106 // page request that could not be written to the queue
	FaultTranslatedPASID = 0x107 // translated request with PASID without PTRS
)

type faultInfo struct {
	name        string
	qualified   bool // suppressed by FPD
	recoverable bool // a translation request ends in success without rights instead
}

var faults = map[uint16]faultInfo{
	FaultRootAbsent:        {"LRT.2 root entry not present", false, false},
	FaultContextAbsent:     {"LCT.2 context entry not present", true, false},
	FaultContextInvalid:    {"LCT.4 context entry invalid", true, false},
	FaultWidth:             {"LGN.1 address beyond width", true, true},
	FaultWrite:             {"LGN.2 write without permission", true, true},
	FaultRead:              {"LGN.3 read without permission", true, true},
	FaultSSRead:            {"LSS.1 second-stage entry read error", true, false},
	FaultRootRead:          {"LRT.1 root entry read error", false, false},
	FaultContextRead:       {"LCT.1 context entry read error", false, false},
	FaultRootReserved:      {"LRT.3 reserved bits in root entry", false, false},
	FaultContextReserved:   {"LCT.3 reserved bits in context entry", true, false},
	FaultSSReserved:        {"LSS.2 reserved bits in second-stage entry", true, false},
	FaultBlockedATS:        {"LCT.5 device-TLB request blocked by TT", true, false},
	FaultOutputRange:       {"LGN.4 output in interrupt range", true, false},
	FaultIRRequest:         {"reserved bits in interrupt request", false, false},
	FaultIRIndex:           {"interrupt index beyond table", false, false},
	FaultIRTEAbsent:        {"IRTE not present", true, false},
	FaultIRTERead:          {"IRTE read error", false, false},
	FaultIRTEReserved:      {"reserved bits in IRTE", true, false},
	FaultCompatibility:     {"compatibility-format interrupt blocked", false, false},
	FaultIRTESource:        {"interrupt source verification failed", true, false},
	FaultPIDAccess:         {"posted-interrupt descriptor access error", true, false},
	FaultPIDReserved:       {"reserved bits in posted-interrupt descriptor", true, false},
	FaultIllegalInterrupt:  {"illegal request to interrupt range", false, false},
	FaultEIMRequired:       {"interrupt while extended mode is required and off", false, false},
	FaultIRRequired:        {"interrupt while remapping is required and off", false, false},
	FaultTTM:               {"RTA.1 invalid translation table mode", false, false},
	FaultLegacyPASID:       {"RTA.2 request with PASID in legacy mode", false, false},
	FaultLegacyPageRequest: {"RTA.3 page request in legacy mode", false, false},
	FaultAbortMode:         {"RTA.4 abort-DMA mode", false, false},
	FaultExecute:           {"RTA.5 execute request", false, false},
	FaultRootReadSM:        {"SRT.1 root entry read error", false, false},
	FaultRootAbsentSM:      {"SRT.2 root entry not present", false, false},
	FaultRootReservedSM:    {"SRT.3 reserved bits in root entry", false, false},
	FaultContextReadSM:     {"SCT.1 context entry read error", false, false},
	FaultContextAbsentSM:   {"SCT.2 context entry not present", true, false},
	FaultContextReservedSM: {"SCT.3 reserved bits in context entry", true, false},
	FaultContextInvalidSM:  {"SCT.4 context entry invalid", true, false},
	FaultBlockedATSSM:      {"SCT.5 device-TLB request with DTE=0", true, false},
	FaultBlockedPASID:      {"SCT.6 request with PASID with PASIDE=0", true, false},
	FaultPASIDRange:        {"SCT.7 PASID beyond directory", true, false},
	FaultBlockedPRS:        {"SCT.8 page request with PRE=0", true, false},
	FaultRIDPASID:          {"SCT.9 request with the PASID that is RID_PASID", true, false},
	FaultNoEPTR:            {"SCT.10 translated request with PASID with EPTR=0", true, false},
	FaultPASIDDirRead:      {"SPD.1 PASID directory read error", false, false},
	FaultPASIDDirAbsent:    {"SPD.2 PASID directory entry not present", true, true},
	FaultPASIDDirReserved:  {"SPD.3 reserved bits in PASID directory entry", true, false},
	FaultPASIDRead:         {"SPT.1 PASID table read error", false, false},
	FaultPASIDAbsent:       {"SPT.2 PASID entry not present", true, true},
	FaultPASIDReserved:     {"SPT.3 reserved bits in PASID entry", true, false},
	FaultPASIDInvalid:      {"SPT.4 PASID entry invalid", true, false},
	FaultExecDisabled:      {"SPT.5 execute request with ERE=0", true, true},
	FaultPrivDisabled:      {"SPT.6 supervisor request with SRE=0", true, true},
	FaultFSRead:            {"SFS.1 first-stage entry read error", true, true},
	FaultFSAbsent:          {"SFS.2 first-stage entry not present", true, true},
	FaultFSReserved:        {"SFS.3 reserved bits in first-stage entry", true, true},
	FaultFSTopRead:         {"SFS.4 top first-stage entry read error", true, true},
	FaultFSWidth:           {"SFS.5 address of a first-stage table beyond second-stage width", true, true},
	FaultFSTopDenied:       {"SFS.6 top first-stage entry not readable in second stage", true, true},
	FaultFSReadDenied:      {"SFS.7 first-stage entry not readable in second stage", true, true},
	FaultFSWriteDenied:     {"SFS.8 first-stage entry not writable in second stage", true, true},
	FaultSSReadSM:          {"SSS.1 second-stage entry read error", true, false},
	FaultSSAbsent:          {"SSS.2 second-stage entry not present", true, true},
	FaultSSReservedSM:      {"SSS.3 reserved bits in second-stage entry", true, false},
	FaultSSTopRead:         {"SSS.4 top second-stage entry read error", true, false},
	FaultSSNoncoherent:     {"SSS.5 accessed/dirty update by a non-coherent walk", true, false},
	FaultSSUpdate:          {"SSS.6 accessed/dirty update failed", true, false},
	FaultCanonical:         {"SGN.1 address not canonical", true, true},
	FaultUser:              {"SGN.2 user access to a supervisor page", true, true},
	FaultExec:              {"SGN.3 execute without permission", true, true},
	FaultHAW:               {"SGN.4 address beyond host width", true, true},
	FaultWidthSM:           {"SGN.5 address beyond second-stage width", true, true},
	FaultWriteSM:           {"SGN.6 write without permission", true, true},
	FaultReadSM:            {"SGN.7 read without permission", true, true},
	FaultOutputRangeSM:     {"SGN.8 output in interrupt range", true, false},
	FaultPASIDSize:         {"SGN.10 PASID beyond PSS", true, false},
	FaultFSNoncoherent:     {"SFS.9 accessed/dirty update by a non-coherent walk", true, true},
	FaultFSUpdate:          {"SFS.10 accessed/dirty update failed", true, true},

	FaultProtected:       {"blocked: protected memory region", false, false},
	FaultDisabled:        {"blocked: translation is off", false, false},
	FaultNoRemapping:     {"not modelled: interrupt remapping", false, false},
	FaultPageOverflow:    {"dropped: page-request queue overflow", false, false},
	FaultPageWrite:       {"dropped: page-request queue cannot be written", false, false},
	FaultTranslatedPASID: {"blocked: translated request with PASID without PTRS", false, false},
}

// FaultName implements emu.Unit.
func (u *Unit) FaultName(c uint16) string {
	if f, ok := faults[c]; ok {
		return f.name
	}
	return fmt.Sprintf("fault %#x", c)
}
