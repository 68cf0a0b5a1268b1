package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuDeviations is what is known of QEMU's SMMUv3, release 11.1. docs/conform.md prints it.
var smmuDeviations = []*Deviation{
	{
		ID: "reset-values", Right: Either, Clause: "6.3.25",
		What:  "LOG2SIZE of queues comes up as 19; the value is unknown",
		match: smmuResetValues,
	},
	{
		ID: "stream-always-recorded", Right: Ours, Clause: "6.3.12, 7.3.3", After: Settle,
		What:  "C_BAD_STREAMID is recorded although CR2.RECINVSID is 0",
		match: smmuStreamRecorded,
	},
	{
		ID: "not-guarded", Right: Either, Clause: "6.3", After: Rewrite,
		What:  "registers take writes while what they are for is on",
		match: smmuNotGuarded,
	},
	{
		ID: "fields-kept", Right: Ours, Clause: "6.3", After: Rewrite,
		What:  "reserved bits, fields of what the unit does not have, and GERRORN of errors that are not active read as they were written",
		match: smmuKept,
	},
	{
		ID: "messages-kept", Right: Ours, Clause: "6.3.19",
		What:  "registers of messages can be written although IDR0.MSI is 0",
		match: smmuMessageKept,
	},
	{
		ID: "l1std-span", Right: Ours, Clause: "3.3.1, 5.1", After: Settle,
		What:  "a level 2 table is taken for twice as long as Span says, or for too long; beyond it is C_BAD_STE instead of C_BAD_STREAMID",
		match: smmuSpan,
	},
	{
		ID: "linear-stays-two-level", Right: Ours, Clause: "6.3.24", After: End,
		What:  "after STRTAB_BASE_CFG.FMT was 1 once, the stream table is taken for a two-level one with the last SPLIT",
		match: smmuStaysTwoLevel,
	},
	{
		ID: "error-does-not-close", Right: Ours, Clause: "7.2, 7.5", After: Settle,
		What:  "events are written while EVENTQ_ABT_ERR is active",
		match: smmuNotClosed,
	},
	{
		ID: "event-queue-full", Right: Ours, Clause: "7.4", After: End,
		What:  "an event for which there is no room is EVENTQ_ABT_ERR instead of an overflow",
		match: smmuFull,
	},
	{
		ID: "cd-fetch-address", Right: Ours, Clause: "7.3.10", Modes: smmuWithS1, After: Settle,
		What:  "F_CD_FETCH has the address in the place of InputAddr",
		match: smmuWritten(func(e *spec.Event) bool { return e.Number() == spec.EvCDFetch }),
	},
	{
		ID: "ipa-offset", Right: Ours, Clause: "7.3.13", Modes: smmuWithS2, After: Settle,
		What:  "events of stage 2 have bits 11:0 of the address beside IPA",
		match: smmuWritten(smmuClass(spec.ClassIN)),
	},
	{
		ID: "cd-direction", Right: Ours, Clause: "7.3.13", Modes: smmuOnlyNested, After: Settle,
		What:  "events of stage 2 with CLASS=CD have RnW=1 whatever the access is",
		match: smmuWritten(smmuClass(spec.ClassCD)),
	},
	{
		ID: "tables-of-stage-1", Right: Ours, Clause: "5.5, 7.3.13", Modes: smmuOnlyNested, After: Settle,
		What:  "faults of stage 2 with CLASS=TT have S2=0, the address of the table as IPA, and are recorded as CD.R says",
		match: smmuWritten(smmuClass(spec.ClassTT)),
	},
	{
		ID: "tables-of-cds", Right: Ours, Clause: "4.4", Modes: smmuOnlyNested, After: Settle,
		What:  "TTB0 and TTB1 are translated by stage 2 when the CD is read, and this lasts as long as the CD is cached",
		match: smmuTablesOfCDs,
	},
	{
		ID: "table-range", Right: Ours, Clause: "7.3.14", Modes: smmuOnlyNested, After: Settle,
		What:  "F_ADDR_SIZE of a table of stage 1 has CLASS=TT and the address beside it",
		match: smmuTableRange,
	},
	{
		ID: "input-size", Right: Ours, Clause: "3.4", Modes: smmuWithS2, After: Settle,
		What:  "F_ADDR_SIZE of an address beyond the input size is not recorded if only stage 2 translates",
		match: smmuInput,
	},
	{
		ID: "hit-not-reported", Right: Ours, Clause: "7.3.16", Modes: smmuWithS2, After: Settle,
		What:  "an access that a cached translation refuses for stage 2 is recorded without IPA, or not at all if there is no stage 1",
		match: smmuHit,
	},
	{
		ID: "tables-side-by-side", Right: Ours, Clause: "DDI 0487 D8.2", Modes: smmuWithS2, After: Settle,
		What:  "of start tables of stage 2 that are side by side only the first one is used",
		match: smmuSideBySide,
	},
	{
		ID: "substreams", Right: Ours, Clause: "5.2", After: Settle,
		What:  "S1CDMax is looked at although there are no SubstreamIDs: C_BAD_STE",
		match: smmuSubstreams,
	},
	{
		ID: "stalls-of-stage-1", Right: Ours, Clause: "5.2", Modes: smmuWithS2, After: Settle,
		What:  "S1STALLD is looked at although there is no stage 1: C_BAD_STE",
		match: smmuStalls,
	},
	{
		ID: "stage-2-size", Right: Ours, Clause: "5.2", Modes: smmuWithS2, After: Settle,
		What:  "S2T0SZ is compared with S2PS instead of IAS: C_BAD_STE where inputs are larger than outputs",
		match: smmuStage2Size,
	},
	{
		ID: "stage-2-updates", Right: Ours, Clause: "5.2", Modes: smmuWithS2, After: Settle,
		What:  "S2HA and S2HD are ignored without HTTU instead of C_BAD_STE",
		match: smmuUpdates,
	},
	{
		ID: "unprivileged", Right: Ours, Clause: "DDI 0487 D8.4", Modes: smmuWithS1, After: Settle,
		What:  "AP[1]=0 and APTable[0]=1 keep nobody from anything",
		match: smmuUnprivileged,
	},
	{
		ID: "table-rights-first", Right: Ours, Clause: "DDI 0487 D8.15", Modes: smmuWithS1, After: Settle,
		What:  "APTable[1]=1 refuses a write before anything below is looked at: F_PERMISSION instead of other faults",
		match: smmuTableRights,
	},
	{
		ID: "table-rights-forgotten", Right: Ours, Clause: "DDI 0487 D8.4", Modes: smmuWithS1, After: Settle,
		What:  "cached translations do not have what APTable takes away: a write after a read is carried out",
		match: smmuForgotten,
	},
	{
		ID: "table-size", Right: Ours, Clause: "DDI 0487 D8.2", After: Settle,
		What:  "the address in a table descriptor is not compared with the output size: F_WALK_EABT instead of F_ADDR_SIZE",
		match: smmuTableSize,
	},
	{
		ID: "fault-order", Right: Ours, Clause: "DDI 0487 D8.15", After: Settle,
		What:  "access flag and rights of a leaf come before its address: F_ACCESS or F_PERMISSION instead of F_ADDR_SIZE",
		match: smmuFaultOrder,
	},
	{
		ID: "commands-taken", Right: Ours, Clause: "4.1.3, 4.6.3", After: End,
		What:  "commands of what the unit does not have (EL2, EL3, ATC_INV, PRI_RESP, RESUME, STALL_TERM) and CMD_SYNC with CS=3 are no errors",
		match: smmuCommandsTaken,
	},
}

var smmuOnlyNested = []string{smmuNested}

var smmuWithS2 = []string{smmuS2, smmuNested}

var smmuWithS1 = []string{smmuS1, smmuNested}

func smmuResetValues(c *Case) {
	if c.index >= 0 {
		return
	}
	for _, name := range []string{"CMDQ_BASE.LOG2SIZE", "EVENTQ_BASE.LOG2SIZE"} {
		if d := c.find(name); d != nil && d.Ours == 0 && d.Theirs == spec.MaxQueueSize {
			c.claim(d)
		}
	}
}

func smmuStreamRecorded(c *Case) {
	if r, ok := c.transfer(); ok && r.Fault.Code&0xff == spec.EvBadStreamID {
		c.smmuClaim(smmuQuestion{regs: map[uint32]uint64{spec.OffCR2: c.was(ours, spec.OffCR2) | spec.Cr2RECINVSID.Mask()}})
	}
}

// smmuFull compares with the event that there was no room for.
func smmuFull(c *Case) {
	if r, ok := c.transfer(); ok && r.Fault.Dropped {
		c.smmuClaim(smmuQuestion{})
	}
}

// smmuWritten expects that an event of a kind is there as the other side writes it: see smmuForm.
func smmuWritten(is func(e *spec.Event) bool) func(c *Case) {
	return func(c *Case) {
		if _, ok := c.transfer(); !ok {
			return
		}
		if a, ok := c.smmuAsk(smmuQuestion{}); ok && a.ours != nil && is(a.ours) {
			c.smmuClaimAnswer(a)
		}
	}
}

func smmuClass(class uint64) func(e *spec.Event) bool {
	return func(e *spec.Event) bool { return smmuOfStage2(e, class) }
}

// smmuTableRange expects that a table of stage 1 beyond all addresses is an address that stage 2 cannot
// translate.
func smmuTableRange(c *Case) {
	r, ok := c.transfer()
	if !ok || r.Fault.Code != smmuv3.FaultS1AddrSize {
		return
	}
	at := c.model.word(r.Fault.At) & spec.TtdAddr.Mask()
	c.smmuClaim(smmuQuestion{edit: func(e *spec.Event) {
		e[1] = e[1]&^spec.EvtClass.Mask() | spec.EvtClass.Put(spec.ClassTT)
		e[3] = at
	}})
}

// smmuInput expects that nothing is recorded.
func smmuInput(c *Case) {
	at, _ := smmuSTE(c)
	if r, ok := c.transfer(); ok && r.Fault.Code == smmuv3.FaultInput && spec.SteConfig.Of(c.model.word(at)) == spec.ConfigS2 {
		c.smmuClaimAnswer(smmuAnswer{})
	}
}

func smmuSubstreams(c *Case) {
	c.smmuBadSTE(func(e *spec.STE) bool { return e.S1CDMax() != 0 })
}

func smmuStalls(c *Case) {
	c.smmuBadSTE(func(e *spec.STE) bool { return !e.S1() && spec.SteS1STALLD.On(e[1]) })
}

func smmuStage2Size(c *Case) {
	c.smmuBadSTE(func(e *spec.STE) bool {
		sizes := []uint64{32, 36, 40, 42, 44}
		ps := spec.SteS2PS.Of(e[2])
		return e.S2() && ps < uint64(len(sizes)) && 64-spec.SteS2T0SZ.Of(e[2]) > sizes[ps]
	})
}

// smmuUpdates asks about an STE without them.
func smmuUpdates(c *Case) {
	at, ok := smmuSTE(c)
	const update = 3 << 55 // S2HD, S2HA
	if w2 := c.model.word(at + 16); ok && c.step.Op == Transfer && w2&update != 0 {
		c.smmuClaim(smmuQuestion{asIf: asIf{words: map[emu.PA]uint64{at + 16: w2 &^ update}}})
	}
}

// smmuBadSTE asks about an STE that is illegal for another reason, if this one is one of those.
func (c *Case) smmuBadSTE(of func(e *spec.STE) bool) {
	at, ok := smmuSTE(c)
	e := spec.STE{c.model.word(at), c.model.word(at + 8), c.model.word(at + 16)}
	if c.step.Op == Transfer && ok && of(&e) {
		c.smmuClaim(smmuQuestion{asIf: asIf{words: map[emu.PA]uint64{
			at: e[0] | spec.SteConfig.Put(1), at + 8: e[1] | 1<<(spec.SteS1STALLD.Lo()&63),
		}}})
	}
}

// smmuTaken are commands that the other side takes and does nothing for.
var smmuTaken = []uint64{
	spec.CmdTlbiEL3All, spec.CmdTlbiEL3VA, spec.CmdTlbiEL2All, spec.CmdTlbiEL2ASID, spec.CmdTlbiEL2VA, spec.CmdTlbiEL2VAA,
	spec.CmdAtcInv, spec.CmdPriResp, spec.CmdResume, spec.CmdStallTerm,
}

// smmuCommandsTaken looks at the command at which our queue has stopped.
func smmuCommandsTaken(c *Case) {
	if !c.writes(spec.OffCMDQProd) || c.is(theirs, spec.OffCMDQCons)&spec.QIndex.Mask() != c.is(theirs, spec.OffCMDQProd) ||
		spec.CmdqErr.Of(c.is(ours, spec.OffCMDQCons)) != spec.CerrorILL || c.is(ours, spec.OffGERROR) == c.was(ours, spec.OffGERROR) {
		return
	}
	base := c.is(ours, spec.OffCMDQBase)
	lg2 := spec.QBaseLog2.Of(base)
	at := emu.PA(base&spec.QBaseAddr.Mask() + c.is(ours, spec.OffCMDQCons)&(1<<lg2-1)*spec.CommandSize)
	w := c.model.word(at)
	op := spec.CmdOpcode.Of(w)
	if !slices.Contains(smmuTaken, op) && (op != spec.CmdSync || spec.SyncCS.Of(w) != 3) {
		return
	}
	for _, name := range []string{"CMDQ_CONS.RD", "CMDQ_CONS.ERR", "GERROR.CMDQ_ERR"} {
		c.claim(c.find(name))
	}
}

// smmuUnseen is what is known of QEMU's SMMUv3 and programs do not show.
var smmuUnseen = []*Deviation{
	{
		ID: "stage-2-of-32-bits", Right: Ours, Clause: "5.2",
		What:   "an STE with stage 2 and S2AA64=0 aborts QEMU instead of C_BAD_STE",
		Unseen: "it ends QEMU",
	},
	{
		ID: "reserved-output-size", Right: Ours, Clause: "5.2, 5.4",
		What:   "IPS=7 or S2PS=7 aborts QEMU instead of being taken for the largest size",
		Unseen: "it ends QEMU",
	},
}

// smmuUnsuitable is all that generators of SMMUv3 programs leave out.
var smmuUnsuitable = append([]Unsuitable{
	{
		What: "changing a valid structure without the invalidations that the specification asks for before the next access",
		Why:  "what caches still hold is up to each unit (4.7): both may be right and differ",
	},
	{
		What: "STEs with stage 2 and S2AA64=0, IPS=7, S2PS=7",
		Why:  "QEMU aborts",
	},
	{
		What: "invalidating a block of stage 1 by a single address where stage 2 has it in smaller pieces",
		Why:  "all pieces have to go (DDI 0487 D8.17); QEMU drops that of the address only", Modes: smmuOnlyNested,
	},
	{
		What: "changing stage 2 of a table that a CD names without invalidating the CD",
		Why:  "QEMU goes on with the old one, see tables-of-cds, which has a program of its own", Modes: smmuOnlyNested,
	},
	{
		What: "64-bit reads of 32-bit registers",
		Why:  "QEMU answers them with 0; what they do is up to each unit (6.2)",
	},
	{
		What: "blocks at levels that have none",
		Why:  "QEMU takes them, and an access would end in registers of devices",
	},
}, pcUnsuitable...)
