// Package pagetable is the software side of radix page tables: it maps, unmaps, walks, cuts, compares
// and reads dirty bits of the tables that a hardware walker reads at the same time. It knows nothing
// of any walker; every load and store goes through [Memory], so that each one is a real access of the
// host's CPU, and every table page comes from [Pages].
//
// # Glossary
//
//   - level: distance from the leaves. Level 0 holds the smallest leaves in every format; the table
//     at the root is at level Levels-1. Vendor level names appear only in the files of the formats.
//   - granule: the smallest leaf, log2 in [Geometry].Granule.
//   - slot: one 8-byte entry of a table. A slot of level l spans 2^(Granule + l*Bits) bytes of IOVA.
//   - leaf: a translation. It has its own log2 size (Lg2), which is a property of the entry and not
//     of its level: a leaf may take one slot or an aligned power of two of neighbouring slots.
//   - replicated: all slots of such a leaf hold the same entry. Otherwise each slot holds its own
//     address and a hint says that the neighbours belong together.
//   - skipping: a link past one or more levels. What its slot spans beyond the next table is a hole.
//   - OA: output address of a leaf; or the address of the next table.
//   - hole: an address without translation, whatever the level at which the walk ends.
//   - malformed: an entry that the architecture defines as an error for the walker.
//   - aperture: the addresses that the present root can reach.
//   - gather: what has to be invalidated, and the pages that may be freed only after that.
//   - Lg2: log2 of a size in bytes.
//
// Ranges are inclusive, first..last, everywhere below the calls that take a length, so that the whole
// 64-bit space needs no special case.
//
// # Order of stores
//
// A walker may read at any moment. A new table is complete (and cleaned from the caches, see
// Memory.Flush) before one atomic store links it. Tables are linked by compare-and-swap, so that
// maps of disjoint ranges may interleave at any access. A page that leaves the tree is never
// written and never freed before [Gather].Release, which the driver calls after the invalidation
// completed. Accessed and dirty bits are set by hardware behind our back: they are changed by
// compare-and-swap only.
//
// # Concurrency
//
// A Table has no lock. Operations on disjoint ranges may interleave, apart from those that change
// the root (a Map beyond the aperture, IncreaseTop, Destroy): these exclude every other operation.
// Two ranges are disjoint here if no leaf, present or about to be mapped, lies in both.
//
// # What is not modelled
//
// Writing links that skip a level, or taking them apart (they are read, see Entry.Lg2);
// break-before-make (Cut replaces a leaf in place).
package pagetable
