// Package smmuv3 drives an Arm SMMUv3 the way an operating system does: through its registers, its
// command queue and the structures in memory, and through nothing else. It is written from the rules for
// software; how hardware reads the same bits is not its business.
//
//	d, err := smmuv3.New(cpu, frames, smmuv3.Options{})   // bring-up, translation still off
//	dom, err := d.NewDomain(host.DomainSpec{Stage: host.StageFirst})
//	err = dom.Map(0x10000, 0x8000_0000, 1<<20, emu.RW)
//	err = d.Attach(0x0100, emu.NoPASID, dom)              // StreamID 0x100
//	err = d.Enable()
//	rep, err := d.Replace(0x0100, emu.NoPASID, other, entry.Hitless)
//
// # Streams
//
// A device without a domain has an STE that aborts without an event. Stage 2, and a guest's stage 1 over
// it, are the stream's as a whole. Stage 1 goes by a CD: that of requests without PASID is the only one, or
// CD 0 of a table with one for each PASID.
//
// # Ids
//
// The id of a stage 2 domain is its VMID. That of a stage 1 domain is 65536 and its ASID; all of them are
// under VMID 0. A nested domain has the VMID of its parent, and ASIDs that are the guest's own. An id is
// given out again only when nothing in a cache can carry it. A move may borrow a free one for its time.
//
// # Moves
//
// A stage 1 domain is replaced by a fresh CD table and one store to the STE, or by the CD in place under a
// temporary ASID (Options.Move); a stage 2 domain under a temporary VMID, or in one store of 16 bytes where
// there is such (Options.Wide).
//
// # Order
//
// Commands between two CMD_SYNCs have no order: structures are dropped, then translations, then the TLBs
// of devices, each behind a CMD_SYNC (4.4, 3.21). Only the last is waited for. Stores become visible in
// any order: what a structure points to is behind a fence.
package smmuv3
