package conform

// The deviations of QEMU's AMD-Vi unit, by what they are called in a story.
const (
	amdResetValues          = "reset-values"
	amdRawRegisters         = "raw-registers"
	amdXTRegister           = "xt-without-support"
	amdPointersKept         = "pointers-kept"
	amdBaseInUse            = "base-in-use"
	amdBaseHalves           = "base-halves"
	amdEventBaseKept        = "event-base-kept"
	amdShortRing            = "short-ring"
	amdPPRNotRun            = "ppr-log-not-run"
	amdNoHardwareRegisters  = "no-hardware-registers"
	amdEnableSendsNothing   = "enable-sends-nothing"
	amdLogIntNeedsEnable    = "log-int-needs-enable"
	amdMessageForEach       = "message-for-each"
	amdComWaitEnable        = "com-wait-enable"
	amdOverflow             = "overflow"
	amdLostLog              = "lost-log"
	amdPageFaultRecord      = "page-fault-record"
	amdIllegalEntryRecord   = "illegal-entry-record"
	amdHardwareRecord       = "hardware-record"
	amdIllegalCommandRecord = "illegal-command-record"
	amdErrorsGoOn           = "errors-go-on"
	amdCommandBits          = "command-bits"
	amdCommandReadsEntry    = "command-reads-entry"
	amdNoTimeOut            = "no-time-out"
	amdAllKeepsDevices      = "all-keeps-devices"
	amdTableSize            = "table-size"
	amdReservedAlways       = "reserved-always"
	amdEntryValues          = "entry-values"
	amdModeZero             = "mode-zero"
	amdSilent               = "silent"
	amdSuppression          = "suppression"
	amdNoExclusion          = "no-exclusion"
	amdHTRange              = "special-range"
	amdHitNotReported       = "hit-not-reported"
	amdTranslationsStay     = "translations-stay"
	amdLeafRights           = "leaf-rights"
	amdRightsVanish         = "rights-vanish"
	amdReservedPaging       = "reserved-paging"
	amdPageSize             = "page-size"
	amdSkippedBits          = "skipped-bits"
	amdTwoEvents            = "two-events"
	amdInterruptsAlways     = "interrupts-always"
	amdInterruptsSilent     = "interrupts-silent"
	amdPassForgets          = "pass-forgets"
	amdSMI                  = "smi"
	amdIntTabLen            = "interrupt-table-length"
	amdIRTEReserved         = "interrupt-entry-reserved"
	amdMessageLevel         = "message-level"
	amdEOIHint              = "eoi-hint"
)

// What deviations touch.
var (
	amdEverything = amdTouches{registers: []string{"EVENT_TAIL", "STATUS.Event", "HW_EVENT_"}, memory: true, outcome: true, messages: true}
	amdReports    = amdTouches{registers: []string{"EVENT_TAIL", "STATUS.Event", "HW_EVENT_"}, memory: true, messages: true}
	amdWords      = amdTouches{memory: true}
)

func amdRegister(names ...string) amdTouches { return amdTouches{registers: names} }

// amdDeviations is what is known of QEMU's AMD-Vi unit, release 11.1. docs/conform.md prints it.
var amdDeviations = amdTable([]amdRow{
	{amdResetValues, Unclear, "3.4", Continue, nil, amdRegister("CMD_BASE", "EVENT_BASE", "PPR_BASE", "EXCL_LIMIT"),
		"lengths of rings come up as 0 instead of 8, and the exclusion limit without its low bits"},
	{amdRawRegisters, Ours, "3.4", Continue, nil, amdRegister("DEV_TABLE_BASE", "CMD_", "EVENT_", "PPR_", "EXCL_LIMIT", "CONTROL", "XT_INT", "STATUS"),
		"registers keep reserved bits and those of features that the unit does not have; of Status those above bit 7"},
	{amdXTRegister, Ours, "3.4", Continue, []string{amdHost}, amdRegister("XT_INT"),
		"the XT interrupt control register can be written without EFR.XTSup"},
	{amdPointersKept, Unclear, "2.4, 2.6", Continue, nil, amdRegister("CMD_HEAD", "CMD_TAIL", "PPR_HEAD", "PPR_TAIL"),
		"a write to the base of the command buffer or of the PPR log leaves the pointers as they read"},
	{amdBaseInUse, Either, "3.4", Settle, nil, amdTouches{registers: []string{"CMD_", "EVENT_", "PPR_", "STATUS.Event"}, memory: true, messages: true},
		"the base of a ring that runs can be changed, which is undefined"},
	{amdBaseHalves, Either, "3.4", Settle, nil, amdTouches{registers: []string{"CMD_HEAD", "STATUS.", "EVENT_TAIL", "HW_EVENT_"}, memory: true, outcome: true, messages: true},
		"the base of the device table or the command buffer is taken over when its upper half is written"},
	{amdEventBaseKept, Ours, "2.5", Settle, nil, amdTouches{registers: []string{"EVENT_", "STATUS.Event"}, memory: true, messages: true},
		"while EventLogInt is set a new base of the event log reads back, but the old one and its pointers stay in use"},
	{amdShortRing, Ours, "2.4, 2.5", Settle, nil, amdTouches{registers: []string{"CMD_HEAD", "EVENT_TAIL", "STATUS."}, memory: true, messages: true},
		"rings run with lengths below 8, which are reserved"},
	{amdPPRNotRun, Ours, "3.4", Continue, nil, amdRegister("STATUS.PPRLogRun"),
		"PPRLogRun is never set, although EFR.PPRSup is"},
	{amdNoHardwareRegisters, Ours, "2.5, 3.4", Continue, nil, amdRegister("HW_EVENT_"),
		"the hardware event registers stay 0, although EFR.HESup is set"},
	{amdEnableSendsNothing, Either, "3.4", Continue, nil, amdTouches{messages: true},
		"an interrupt that is enabled while its condition stands is not sent"},
	{amdLogIntNeedsEnable, Ours, "3.4", Continue, nil, amdTouches{registers: []string{"STATUS.EventLogInt"}, messages: true},
		"EventLogInt is set only with EventIntEn"},
	{amdMessageForEach, Ours, "3.4", Continue, nil, amdTouches{messages: true},
		"an interrupt is sent for each event and each wait, though the condition stands already"},
	{amdComWaitEnable, Ours, "2.4.1, 3.4", Continue, nil, amdTouches{messages: true},
		"a COMPLETION_WAIT with I=1 sends an interrupt without ComWaitIntEn"},
	{amdOverflow, Ours, "2.5.1", Settle, nil, amdReports,
		"a full log shows an overflow only with EventIntEn, goes on running, and needs no restart: clearing EventOverflow is enough, and EventLogEn does not clear it"},
	{amdLostLog, Unclear, "2.5", Settle, nil, amdReports,
		"an event that cannot be stored moves the tail and sends an interrupt all the same"},
	{amdPageFaultRecord, Ours, "2.5.3", Continue, nil, amdWords,
		"IO_PAGE_FAULT has I=1, the kind of access in GN and NX, a device without its bus, no DomainID, no address and no other flag"},
	{amdIllegalEntryRecord, Ours, "2.5.2", Continue, nil, amdWords,
		"ILLEGAL_DEV_TABLE_ENTRY has neither address nor flags"},
	{amdHardwareRecord, Ours, "2.5.4, 2.5.5, 2.5.7", Continue, nil, amdWords,
		"hardware errors have no address, type and flags; of a page table also no DomainID, and a device without its bus"},
	{amdIllegalCommandRecord, Ours, "2.5.6", Continue, nil, amdWords,
		"ILLEGAL_COMMAND_ERROR has the opcode in its flags and no address"},
	{amdErrorsGoOn, Ours, "2.4, 2.5.6, 2.5.7", Settle, nil,
		amdTouches{registers: []string{"CMD_HEAD", "STATUS.", "EVENT_TAIL", "HW_EVENT_"}, memory: true, messages: true},
		"the command buffer does not stop at illegal commands, which are mostly executed, nor at errors of fetches and stores; those of stores are not reported"},
	{amdCommandBits, Ours, "2.4", Settle, nil, amdTouches{registers: []string{"CMD_HEAD", "STATUS.", "EVENT_TAIL"}, memory: true, messages: true},
		"some reserved bits of commands are not checked"},
	{amdCommandReadsEntry, Either, "2.4.2", Settle, nil, amdReports,
		"INVALIDATE_DEVTAB_ENTRY reads the entry, and logs at once what is wrong with it"},
	{amdNoTimeOut, Either, "2.4.4, 2.5.8", Settle, nil, amdReports,
		"INVALIDATE_IOTLB_PAGES for a device without an IOTLB does not run into the time-out"},
	{amdAllKeepsDevices, Ours, "2.4.8", Settle, nil, amdEverything,
		"a device that was passed through stays so until an INVALIDATE_DEVTAB_ENTRY names it: INVALIDATE_IOMMU_ALL and IommuEn do not help"},
	{amdTableSize, Ours, "2.2.2, 3.4", Settle, nil, amdEverything,
		"the size of the device table is not looked at"},
	{amdReservedAlways, Ours, "2.2.2", Settle, nil, amdEverything,
		"reserved bits of a device table entry count in both halves, whatever V and IV say"},
	{amdEntryValues, Ours, "2.2.2", Settle, nil, amdEverything,
		"of a device table entry neither reserved values are checked nor fields of features that the unit does not have"},
	{amdModeZero, Ours, "2.2.2.1", Settle, nil, amdEverything,
		"with Mode=0 the rights of the device table entry do not count"},
	{amdSilent, Unclear, "2.2.2, 2.5.3", Settle, nil, amdEverything,
		"TV=0, Mode=7, and Mode=0 for lack of rights, block without an event"},
	{amdSuppression, Ours, "2.2.2", Settle, nil, amdReports,
		"SA of a device table entry does not suppress events"},
	{amdNoExclusion, Ours, "2.1, 3.4", Settle, nil,
		amdTouches{registers: []string{"EXCL_BASE", "EVENT_TAIL", "STATUS.Event"}, memory: true, outcome: true, messages: true},
		"there is no exclusion range; its base reads 0"},
	{amdHTRange, Ours, "2.1", Settle, nil, amdEverything,
		"FD_0000_0000h to FF_FFFF_FFFFh is translated like any other address, although EFR2.HtRangeIgnore is 0"},
	{amdHitNotReported, Ours, "2.5.3", Settle, nil, amdReports,
		"an access that the IOTLB refuses for lack of rights is aborted but not reported"},
	{amdTranslationsStay, Ours, "2.4.2", Settle, nil, amdEverything,
		"translations belong to a device and are looked at before its entry: they outlive a change of the entry until their old domain is invalidated"},
	{amdLeafRights, Ours, "2.2.3", Settle, nil, amdEverything,
		"of the rights of all levels only those of the page count, as long as there is any right left in each"},
	{amdRightsVanish, Ours, "2.2.3", Settle, nil, amdEverything,
		"where no right is left half way the walk ends, and the entry is taken for a page of its level"},
	{amdReservedPaging, Ours, "2.2.3", Settle, nil, amdEverything,
		"reserved bits of paging entries are not checked"},
	{amdPageSize, Ours, "2.2.3", Settle, nil, amdEverything,
		"sizes of NextLevel=7 that do not belong to the level are accepted, and pages of level 6"},
	{amdSkippedBits, Ours, "2.2.3", Settle, nil, amdEverything,
		"the address bits of skipped levels need not be 0"},
	{amdTwoEvents, Ours, "2.5.5", Settle, nil, amdReports,
		"a paging entry that cannot be read is reported twice, as PAGE_TAB_HARDWARE_ERROR and as IO_PAGE_FAULT"},
	{amdInterruptsAlways, Ours, "2.2.5, 3.4", Settle, nil, amdEverything,
		"interrupts are remapped without IommuEn"},
	{amdInterruptsSilent, Ours, "2.5.3", Settle, nil, amdEverything,
		"no event tells of an interrupt that does not get through"},
	{amdPassForgets, Ours, "2.2.5", Continue, nil, amdTouches{messages: true},
		"with IntCtl=1 the message that leaves has neither vector nor destination"},
	{amdSMI, Either, "2.2.5", Settle, nil, amdEverything,
		"an SMI is blocked"},
	{amdIntTabLen, Ours, "2.2.5", Settle, nil, amdEverything,
		"the length of the interrupt table is not looked at"},
	{amdIRTEReserved, Ours, "2.2.5", Settle, nil, amdEverything,
		"reserved bits of interrupt table entries are not checked"},
	{amdMessageLevel, Either, "2.2.5", Continue, nil, amdTouches{messages: true},
		"messages that were remapped have bit 14 set, which means something for level-triggered ones only"},
	{amdEOIHint, Ours, "2.2.5", Continue, nil, amdTouches{messages: true},
		"RqEoi becomes the redirection hint of the message"},
})

// amdRow is a deviation: id, who is right, clause, how a program goes on, modes, what it touches, what it is.
type amdRow struct {
	id      string
	right   Right
	clause  string
	after   After
	modes   []string
	touches amdTouches
	what    string
}

func amdTable(rows []amdRow) []*Deviation {
	var list []*Deviation
	for _, r := range rows {
		list = append(list, &Deviation{
			ID: r.id, Right: r.right, Clause: r.clause, After: r.after, Modes: r.modes, What: r.what, match: amdBy(r.id, r.touches),
		})
	}
	return list
}

// amdUnseen is what is known besides.
var amdUnseen = []*Deviation{
	{
		ID: "coarse-invalidation", Right: Either, Clause: "2.4.3",
		What:   "INVALIDATE_IOMMU_PAGES drops all translations of the domain; INVALIDATE_IOTLB_PAGES drops what the unit itself keeps for the device: one page, or with S=1 everything",
		Unseen: "dropping more than asked is allowed; device IOTLBs there are none",
	},
	{
		ID: "no-entry-caches", Right: Either, Clause: "2.4.2, 2.4.5",
		What:   "there are no caches of device table entries, paging structures and interrupt table entries; translations are kept in 1024 places that are emptied together when full",
		Unseen: "programs invalidate what they change, so no answer depends on it",
	},
	{
		ID: "suppress-once", Right: Ours, Clause: "2.2.2",
		What:   "SE of a device table entry does nothing",
		Unseen: "what SE remembers lasts as long as the entry is cached, which is up to the unit: programs do not use it",
	},
	{
		ID: "no-guest-tables", Right: Ours, Clause: "2.2.6, 3.4",
		What:   "guest translation, page requests and ATS are advertised and do not exist; GATS says six levels",
		Unseen: "QEMU's devices have no PASID and make no ATS or page requests, and EFR.GIoSup is 0",
	},
	{
		ID: "no-flags", Right: Either, Clause: "2.2.3",
		What:   "accessed and dirty flags are not set",
		Unseen: "EFR.HASup is 0",
	},
	{
		ID: "interrupt-range-reads", Right: Ours, Clause: "2.1",
		What:   "reads of FEEx_xxxxh and writes that are no messages are not reported",
		Unseen: "the devices send nothing but messages there",
	},
	{
		ID: "tail-beyond", Right: Either, Clause: "2.4",
		What:   "with a tail beyond the end of the command buffer QEMU never comes back",
		Unseen: "programs leave it out",
	},
}
