package conform

// vtdUnseen is what is known of QEMU's VT-d unit and no program can show, or no longer.
var vtdUnseen = []*Deviation{
	{
		ID: "coarse-invalidation", Right: Either, Clause: "6.5.1",
		What:   "context invalidation by domain is global; page-selective invalidation of a PASID drops second-stage entries too; IH is ignored",
		Unseen: "dropping more than asked is allowed and changes no answer",
	},
	{
		ID: "iotlb-by-requester", Right: Either, Clause: "6.2.3",
		What:   "translations are kept by requester and not by domain, in 1024 places that are emptied together when full",
		Unseen: "programs invalidate what they change, so no answer depends on it",
	},
	{
		ID: "no-walk-caches", Right: Either, Clause: "6.2.4",
		What:   "there are no paging-structure caches and no PASID-cache proper; faults are never cached",
		Unseen: "programs invalidate what they change, so no answer depends on it",
	},
	{
		ID: "flags-by-plain-write", Right: Ours, Clause: "3.6.2",
		What:   "accessed and dirty flags are written without regard to what software did to the entry meanwhile",
		Unseen: "nothing else runs during an access",
	},
	{
		ID: "commands-take-no-time", Right: Either, Clause: "11.4.4.1",
		What:   "RTPS and IRTPS do not drop while a command runs",
		Unseen: "no time passes between a command and its end on either machine",
	},
	{
		ID: "pasid-range", Right: Ours, Clause: "3.4.4, 9.4", Modes: vtdScalable,
		What:   "PASIDs beyond PDTS are not refused; a request with PASID is refused if the entry of RID_PASID is wrong",
		Unseen: "QEMU's devices have no PASID, and RID_PASID is 0",
	},
	{
		ID: "request-attributes", Right: Ours, Clause: "3.4.4, 3.6.1", Modes: vtdScalable,
		What:   "SRE, ERE, WPE, NXE and SMEP do nothing; a fault record has no EXE, PRIV, AT and T2",
		Unseen: "QEMU's devices make neither privileged nor execute requests, no AtomicOps and no ATS",
	},
	{
		ID: "interrupt-range-reads", Right: Ours, Clause: "3.14",
		What:   "reads of FEEx_xxxxh are not reported",
		Unseen: "the devices send nothing but messages there",
	},
	{
		ID: "device-tlb-errors", Right: Ours, Clause: "6.5.2.10",
		What:   "FSTS.ICE and FSTS.ITE are never set",
		Unseen: "there are no device-TLBs",
	},
	{
		ID: "page-sizes", Right: Ours, Clause: "9.7, 9.8",
		What:   "PS is not checked against SSLPS and FS1GP",
		Unseen: "QEMU's unit advertises all sizes",
	},
	{
		ID: "record-index", Right: Ours, Clause: "7.3.1",
		What:   "TE=0 sets the index of the next fault record back",
		Unseen: "there is one record",
	},
	{
		ID: "record-pasid", Right: Ours, Clause: "11.4.14", Modes: vtdScalable,
		What:   "before release 11 the record of a request without PASID has PP=1, or a PV",
		Unseen: "release 11.1 has it right",
	},
	{
		ID: "root-pointer-flush", Right: Either, Clause: "6.6",
		What:   "SRTP empties all caches; before release 11 without CAP.ESRTPS",
		Unseen: "release 11.1 advertises it",
	},
	{
		ID: "no-interrupt-cache", Right: Either, Clause: "5.1",
		What:   "there is no interrupt-entry cache, and no posting",
		Unseen: "programs invalidate what they change, and CAP.PI is 0",
	},
}
