package conform

// Unsuitable is something that generated programs leave out on purpose.
type Unsuitable struct {
	What  string
	Why   string
	Modes []string // nil: all
}

// pcUnsuitable is what no program does on a PC.
var pcUnsuitable = []Unsuitable{
	{
		What: "tables, entries and queues in memory that devices write",
		Why:  "an access of a device would change what the program means",
	},
	{
		What: "memory below 1 MiB and pages over registers of devices",
		Why:  "a PC has ROM and devices there",
	},
	{
		What: "DMA to addresses from A_0000h to 1 MiB, and from C000_0000h to 4 GiB other than messages of 4 bytes to FEEx_xxxxh",
		Why:  "a PC has devices there, which an access reaches where it is not translated; to FEEx_xxxxh the devices send messages only",
	},
	{
		What: "requests with PASID, ATS and page requests, AtomicOps, zero-length reads, execute and supervisor requests",
		Why:  "QEMU's devices make none",
	},
	{
		What: "accesses of other sizes than 4 and 8 bytes or not aligned",
		Why:  "the bus of QEMU refuses them, or takes them apart",
	},
}

// amdUnsuitable is all that generators of AMD-Vi programs leave out besides.
var amdUnsuitable = append([]Unsuitable{
	{
		What: "changing a present entry without the invalidations that the specification asks for before the next access",
		Why:  "what caches still hold is up to each unit (2.4): both may be right and differ",
	},
	{
		What: "a tail beyond the end of the command buffer",
		Why:  "QEMU never comes back",
	},
	{
		What: "writing one half of a base, or the upper one first",
		Why:  "QEMU takes a base over with its upper half",
	},
	{
		What: "SE of device table entries",
		Why:  "what is remembered lasts as long as the entry is cached, which is up to the unit",
	},
	{
		What: "writes of devices through tables of a wrong level, or through pages beyond the size of memory",
		Why:  "they would end in tables",
	},
	{
		What: "messages to processors that there are",
		Why:  "they would act on the processor that QEMU has",
	},
}, pcUnsuitable...)

// vtdUnsuitable is all that generators of VT-d programs leave out although software could do it. Whatever
// is not here may come up in a program.
var vtdUnsuitable = append([]Unsuitable{
	{
		What: "changing a present entry without the invalidations that the specification asks for before the next access",
		Why:  "what caches still hold is up to each unit (6.5): both may be right and differ",
	},
	{
		What: "changing a PASID directory entry without invalidating the context-cache",
		Why:  "QEMU then goes on with memory that it has not initialised, and no two runs need be the same", Modes: vtdScalable,
	},
	{
		What: "writing IQA, or the root pointer without SRTP, for what is in use",
		Why:  "undefined while QIES=1 (11.4.15.3); without SRTP nothing happens, which bring-up shows",
	},
	{
		What: "offsets from 230h on",
		Why:  "QEMU's window of registers ends there",
	},
	{
		What: "interrupts of delivery modes other than fixed and lowest priority, remapping without the queue",
		Why:  "the others act on the processor that QEMU has; without the queue there is no way to invalidate",
	},
}, pcUnsuitable...)
