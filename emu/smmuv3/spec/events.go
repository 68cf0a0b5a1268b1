package spec

import "github.com/iommulab/iommulab/emu/reg"

// Events, 7.3. The names are those of the records.
const (
	EvUUT             = 0x01
	EvBadStreamID     = 0x02
	EvSTEFetch        = 0x03
	EvBadSTE          = 0x04
	EvBadATSTreq      = 0x05
	EvStreamDisabled  = 0x06
	EvTranslForbidden = 0x07
	EvBadSubstreamID  = 0x08
	EvCDFetch         = 0x09
	EvBadCD           = 0x0a
	EvWalkEABT        = 0x0b
	EvTranslation     = 0x10
	EvAddrSize        = 0x11
	EvAccess          = 0x12
	EvPermission      = 0x13
	EvTLBConflict     = 0x20
	EvCFGConflict     = 0x21
	EvPageRequest     = 0x24
	EvVMSFetch        = 0x25
	EvImpDefFirst     = 0xe0
	EvImpDefLast      = 0xef
	ClassCD           = 0 // values of EvtClass: why a translation was wanted
	ClassTT           = 1
	ClassIN           = 2
)

// Event record, 7.3, by bit of its 256. Which fields a record has is in its layout.
const (
	EvtNumber    reg.Bits = 7_000
	EvtSSV       reg.Bits = 11_011
	EvtSSID      reg.Bits = 31_012
	EvtSID       reg.Bits = 63_032
	EvtSTAG      reg.Bits = 79_064
	EvtReason    reg.Bits = 79_064
	EvtReason32  reg.Bits = 95_064 // conflicts
	EvtGPCF      reg.Bits = 80_080
	EvtStall     reg.Bits = 95_095
	EvtPnU       reg.Bits = 97_097
	EvtInD       reg.Bits = 98_098
	EvtRnW       reg.Bits = 99_099
	EvtNSIPA     reg.Bits = 102_102
	EvtS2        reg.Bits = 103_103
	EvtClass     reg.Bits = 105_104
	EvtTTRnW     reg.Bits = 108_108
	EvtImpDef    reg.Bits = 127_112
	EvtInputAddr reg.Bits = 191_128
	EvtPage      reg.Bits = 191_140 // F_BAD_ATS_TREQ, E_PAGE_REQUEST
	EvtIPA       reg.Bits = 243_204
	EvtFetchAddr reg.Bits = 243_195

	EvtATSSpan reg.Bits = 67_064 // F_BAD_ATS_TREQ
	EvtATSPriv reg.Bits = 92_092
	EvtATSExec reg.Bits = 93_093
	EvtATSW    reg.Bits = 94_094
	EvtATSR    reg.Bits = 95_095

	EvtPageUX   reg.Bits = 97_097 // E_PAGE_REQUEST
	EvtPageUW   reg.Bits = 98_098
	EvtPageUR   reg.Bits = 99_099
	EvtPagePX   reg.Bits = 101_101
	EvtPagePW   reg.Bits = 102_102
	EvtPagePR   reg.Bits = 103_103
	EvtPageSpan reg.Bits = 115_108
)

// Event is an event record.
type Event [4]uint64

// Number returns which event it is.
func (e *Event) Number() uint8 { return uint8(EvtNumber.Of(e[0])) }

// SID returns the StreamID.
func (e *Event) SID() uint32 { return uint32(EvtSID.Of(e[0])) }

func evLayout(name, clause string, f ...reg.Field) *reg.Layout {
	all := append([]reg.Field{EvtNumber.Field("Number", "event")}, f...)
	return &reg.Layout{Name: name, Bits: 256, Clause: clause, Fields: all}
}

func evSID() reg.Field  { return EvtSID.Field("StreamID", "stream") }
func evAddr() reg.Field { return EvtInputAddr.Field("InputAddr", "address of the transaction") }
func evFetch() reg.Field {
	return EvtFetchAddr.Field("FetchAddr", "address of the structure >> 3")
}
func evReason() reg.Field { return EvtReason.Field("Reason", "implementation defined") }
func evGPCF() reg.Field   { return EvtGPCF.Field("GPCF", "granule protection check fault") }
func evRnW() reg.Field    { return EvtRnW.Field("RnW", "1: read") }

func evSub() []reg.Field {
	return []reg.Field{EvtSSV.Field("SSV", "SubstreamID valid"), EvtSSID.Field("SubstreamID", "substream"), evSID()}
}

func evAttrs() []reg.Field {
	return []reg.Field{EvtPnU.Field("PnU", "privileged"), EvtInD.Field("InD", "instruction"), evRnW()}
}

// evStage are the fields that say which stage failed and why it was walked.
func evStage() []reg.Field {
	return []reg.Field{EvtNSIPA.Field("NSIPA", "IPA is Non-secure"), EvtS2.Field("S2", "stage 2"),
		EvtClass.Field("CLASS", "translated for: 0 CD, 1 table descriptor, 2 input")}
}

// join makes one list of several.
func join(lists ...[]reg.Field) (all []reg.Field) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

func evFetchLayout(name, clause string) *reg.Layout {
	return evLayout(name, clause, join(evSub(), []reg.Field{evReason(), evGPCF(), evFetch()})...)
}

func evTranslation(name, clause string, more ...reg.Field) *reg.Layout {
	return evLayout(name, clause, join(evSub(),
		[]reg.Field{EvtSTAG.Field("STAG", "stalled transaction"), EvtStall.Field("Stall", "the transaction is stalled")},
		evAttrs(), evStage(), more,
		[]reg.Field{EvtImpDef.Field("IMPDEF", "implementation defined"), evAddr(), EvtIPA.Field("IPA", "with S2: IPA >> 12")})...)
}

// EventLayouts describes the event records by number.
var EventLayouts = map[uint64]*reg.Layout{
	EvUUT:         evLayout("F_UUT", "7.3.2", join(evSub(), []reg.Field{evReason()}, evAttrs(), []reg.Field{evAddr()})...),
	EvBadStreamID: evLayout("C_BAD_STREAMID", "7.3.3", evSub()...),
	EvSTEFetch:    evFetchLayout("F_STE_FETCH", "7.3.4"),
	EvBadSTE:      evLayout("C_BAD_STE", "7.3.5", evSub()...),
	EvBadATSTreq: evLayout("F_BAD_ATS_TREQ", "7.3.6", join(evSub(), []reg.Field{
		EvtATSSpan.Field("Span", "units asked for"), EvtATSPriv.Field("Priv", "privileged"), EvtATSExec.Field("Exe", "execute"),
		EvtATSW.Field("W", "write"), EvtATSR.Field("R", "read"), EvtPage.Field("InputAddr", "address >> 12")})...),
	EvStreamDisabled: evLayout("F_STREAM_DISABLED", "7.3.7", evSID()),
	EvTranslForbidden: evLayout("F_TRANSL_FORBIDDEN", "7.3.8", join(evSub(),
		[]reg.Field{evRnW(), evAddr()})...),
	EvBadSubstreamID: evLayout("C_BAD_SUBSTREAMID", "7.3.9", EvtSSID.Field("SubstreamID", "substream"), evSID()),
	EvCDFetch:        evFetchLayout("F_CD_FETCH", "7.3.10"),
	EvBadCD:          evLayout("C_BAD_CD", "7.3.11", evSub()...),
	EvWalkEABT: evLayout("F_WALK_EABT", "7.3.12", join(evSub(), []reg.Field{evReason(), evGPCF()}, evAttrs(), evStage(),
		[]reg.Field{evAddr(), evFetch()})...),
	EvTranslation: evTranslation("F_TRANSLATION", "7.3.13"),
	EvAddrSize:    evTranslation("F_ADDR_SIZE", "7.3.14"),
	EvAccess:      evTranslation("F_ACCESS", "7.3.15"),
	EvPermission:  evTranslation("F_PERMISSION", "7.3.16", EvtTTRnW.Field("TTRnW", "with CLASS=1: a descriptor was read")),
	EvTLBConflict: evLayout("F_TLB_CONFLICT", "7.3.17", join(evSub(),
		[]reg.Field{EvtReason32.Field("Reason", "implementation defined")}, evAttrs(),
		[]reg.Field{EvtNSIPA.Field("NSIPA", "IPA is Non-secure"), EvtS2.Field("S2", "stage 2"), evAddr(),
			EvtIPA.Field("IPA", "with S2: IPA >> 12")})...),
	EvCFGConflict: evLayout("F_CFG_CONFLICT", "7.3.18", join(evSub(),
		[]reg.Field{EvtReason32.Field("Reason", "implementation defined")})...),
	EvPageRequest: evLayout("E_PAGE_REQUEST", "7.3.19", join(evSub(), []reg.Field{
		EvtPageUX.Field("uX", "unprivileged execute"), EvtPageUW.Field("uW", "unprivileged write"), EvtPageUR.Field("uR", "unprivileged read"),
		EvtPagePX.Field("pX", "privileged execute"), EvtPagePW.Field("pW", "privileged write"), EvtPagePR.Field("pR", "privileged read"),
		EvtPageSpan.Field("Span", "pages"), EvtPage.Field("InputAddr", "address >> 12")})...),
	EvVMSFetch: evFetchLayout("F_VMS_FETCH", "7.3.20"),
}

// PRI queue record, 8.
const (
	PriSID     reg.Bits = 31_000
	PriSSID    reg.Bits = 51_032
	PriPriv    reg.Bits = 58_058
	PriX       reg.Bits = 59_059
	PriR       reg.Bits = 60_060
	PriW       reg.Bits = 61_061
	PriLast    reg.Bits = 62_062
	PriSSV     reg.Bits = 63_063
	PriRecPRG  reg.Bits = 72_064
	PriRecAddr reg.Bits = 127_076
)

// PRILayout describes a PRI queue record.
var PRILayout = reg.Layout{Name: "PRI record", Bits: 128, Clause: "8", Fields: []reg.Field{
	PriSID.Field("StreamID", "stream"),
	PriSSID.Field("SubstreamID", "with SSV"),
	PriPriv.Field("Priv", "privileged"),
	PriX.Field("X", "execute"),
	PriR.Field("R", "read"),
	PriW.Field("W", "write"),
	PriLast.Field("Last", "last of its group"),
	PriSSV.Field("SSV", "SubstreamID valid"),
	PriRecPRG.Field("PRGIndex", "page request group"),
	PriRecAddr.Field("Addr", "address >> 12"),
}}
