// Package spec holds the bit layouts of AMD-Vi - registers, structures in memory, commands, log
// entries - and nothing of what they mean. Each range of bits is written once, as a [reg.Bits]
// constant; the layout tables, which name the fields for people and tools, are made from the same
// constants.
//
//	w := spec.DteMode.Of(entry[0])              // one field of one word
//	spec.DteDomainID.Set(entry[:], 7)           // masks
//	efr := spec.EfrGTSup.Put(1) | spec.EfrHATS.Put(2)
//	for _, f := range spec.DTELayout.Fields { fmt.Println(f.Name, f.Get(entry[:])) }
//
// Names follow the AMD I/O Virtualization Technology (IOMMU) Specification, 48882, at the level of
// revision 3.06 to 3.10. Clauses name its chapters: 2.1 behaviour, 2.2 structures, 2.4 commands, 2.5
// events, 2.6 page requests, 3.2 PCI capability, 3.4 registers.
package spec
