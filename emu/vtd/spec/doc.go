// Package spec holds the bit layouts of Intel VT-d - registers, structures in memory, descriptors -
// and nothing of what they mean. Each range of bits is written once, as a [reg.Bits] constant; the
// layout tables, which name the fields for people and tools, are made from the same constants.
//
//	w := spec.CtxDID.Of(entry[1])              // one field of one word
//	spec.CtxDID.Set(entry[:], 7)               // masks
//	cap := spec.CapND.Put(6) | spec.CapQI.Put(1)
//	for _, f := range spec.ContextLayout.Fields { fmt.Println(f.Name, f.Get(entry[:])) }
//
// Names follow revision 4 of the specification (first stage, second stage). Clauses name its
// chapters: 3 address translation, 6 caching and invalidation, 7 faults, 9 structures, 11 registers.
package spec
