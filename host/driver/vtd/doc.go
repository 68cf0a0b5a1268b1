// Package vtd drives an Intel VT-d unit the way an operating system does: through its registers, its
// invalidation queue and the structures in memory, and through nothing else. It is written from the
// rules for software; how hardware reads the same bits is not its business.
//
//	d, err := vtd.New(cpu, frames, vtd.Options{})      // bring-up, translation still off
//	dom, err := d.NewDomain(host.DomainSpec{})
//	err = dom.Map(0x10000, 0x8000_0000, 1<<20, emu.RW)
//	err = d.Attach(0x0100, emu.NoPASID, dom)           // device 01:00.0
//	err = d.Enable()
//	rep, err := d.Replace(0x0100, emu.NoPASID, other, entry.Hitless)
//
// # Modes
//
// Legacy mode has one domain for each device, and the second stage only. In scalable mode a device has
// a PASID directory of its own; its requests without PASID use entry 0 of it (RID_PASID), others the
// entry of their PASID. A paging domain has second-stage or first-stage tables there, and a nested
// domain has the first-stage tables of a guest, at addresses of its parent.
//
// # Domain ids
//
// Id 0 is never used: hardware in caching mode tags not-present entries with it. Id 1 belongs to all
// pass-through entries. The others are one for each paging or nested domain, and an id is given out
// again only when nothing in a cache can carry it. A move between first-stage tables may borrow a
// free one for its time.
//
// # Invalidation
//
// Order is context, PASID, IOTLB, device-TLB (6.5.3.3). What goes in one submission has a fence
// between entry caches and IOTLB: descriptors may run in parallel otherwise, and a translation could
// be made again from an entry about to be dropped. Table pages are freed, ids and addresses reused,
// only behind the wait.
//
// # Interrupts
//
// With Options.IRQ the driver is a host.IRQRemapper. A device is given a message that names an entry:
//
//	irq, msg, err := d.MapIRQ(0x0100, to)              // to is what CPU.OnIRQ has returned
//	err = d.MoveIRQ(irq, 0, other)                     // while the device sends msg
//
// # Page requests
//
// In scalable mode a device probed with ATS and PRI asks for pages that are not there. Whoever maps them
// is told by the driver, and answers:
//
//	d.OnPageRequest(func(g host.PageGroup) {
//		err := dom.Map(g.Requests[0].Addr, page, 0x1000, emu.RW)
//		err = d.Respond(g, host.PageSuccess)
//	})
package vtd
