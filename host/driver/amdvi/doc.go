// Package amdvi drives an AMD-Vi unit the way an operating system does: through its registers, its command
// buffer, its logs and the structures in memory, and through nothing else. It is written from the rules
// for software; how hardware reads the same bits is not its business.
//
//	d, err := amdvi.New(cpu, frames, amdvi.Options{})  // bring-up, IommuEn still off
//	dom, err := d.NewDomain(host.DomainSpec{})         // host tables (v1)
//	err = dom.Map(0x10000, 0x8000_0000, 1<<20, emu.RW)
//	err = d.Attach(0x0100, emu.NoPASID, dom)           // device 01:00.0
//	err = d.Enable()
//	rep, err := d.Replace(0x0100, emu.NoPASID, other, entry.Hitless)
//
// # Device table
//
// All entries are there from the beginning, and block: V=1 and TV=0. V=0, which lets requests pass
// untranslated, is never stored. The entry of a device has the domain of its requests without PASID: host
// tables, or a GCR3 table whose entry 0 leads to guest tables (GIoV=1), or, for a nested domain, both.
//
// # PASIDs
//
// As long as a device uses no PASID its entry names a GCR3 table of the domain's own, and the domain's id:
// a move to another domain is one store to the device table entry. With the first PASID the device gets
// a GCR3 table and an id for itself, for translations are tagged with domain and PASID, and another
// device of the same domain has other PASIDs. Then a domain is an entry of that table, for requests without PASID
// entry 0, and a move is one store to it. All guest tables of a device have the same depth, and are nested on
// the same host tables or on none: both are fields of the device table entry.
//
// # Domain ids
//
// Id 0 is never used, id 1 belongs to all identity domains. The others are one for each paging or nested
// domain and for each device with PASIDs, and an id is given out again only when nothing in a cache
// can carry it.
//
// # Invalidation
//
// Commands may complete out of order (2.4): what goes in one submission has a COMPLETION_WAIT with F=1
// between device table entries and translations, and one with a store at the end. Table pages are
// freed, ids and addresses reused, only behind that.
package amdvi
