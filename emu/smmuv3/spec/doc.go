// Package spec holds the bit layouts of the Arm SMMUv3 - registers, structures in memory, commands,
// event and page request records, translation table descriptors - and nothing of what they mean. Each
// range of bits is written once, as a [reg.Bits] constant; the layout tables, which name the fields for
// people and tools, are made from the same constants.
//
//	w := spec.SteConfig.Of(entry[0])            // one field of one word
//	spec.SteS2VMID.Set(entry[:], 7)             // masks
//	idr := spec.Idr0S1P.Put(1) | spec.Idr0TTF.Put(spec.TTFAArch64)
//	for _, f := range spec.STELayout.Fields { fmt.Println(f.Name, f.Get(entry[:])) }
//
// Names follow the Arm System Memory Management Unit Architecture Specification, IHI 0070, SMMU
// version 3, at the level of SMMUv3.4. Clauses name its chapters: 3 operation, 4 commands, 5 data
// structures, 6 registers, 7 faults and events, 8 page request queue, 10 performance monitors.
// Descriptors of translation tables are those of VMSAv8-64 (Arm ARM, DDI 0487, D8.3).
//
// Levels of tables are counted as everywhere in this module: level 0 holds the smallest leaves. Arm's
// level n is level 3-n here, see [Level].
package spec
