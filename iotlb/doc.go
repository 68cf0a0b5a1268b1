// Package iotlb holds the translation caches of an IOMMU: the IOTLB itself ([Cache]) and the
// paging-structure caches ([Walk]). Both are [emu.Cache], so every executor can answer a unit's
// questions from them.
//
// # Entries
//
// An entry is a value of four words under a tag (class, domain, PASID) and an input address. It
// covers 2^lg2 units of address, aligned to its size, lg2 from 0 to 63. Entries of every size live
// side by side in the one array; a look-up probes only the sizes that the class of the tag has at
// the moment. Two entries of different size may cover one address, as hardware allows: the smaller
// one answers.
//
// # What an invalidation costs
//
// Each live combination of class, domain and size has a record, a group; below it each PASID has
// one, a node. An entry names its node and is alive as long as node and group are. So
//
//	everything, or whole classes      O(1): the generation of the class moves on
//	a domain, any classes             O(1): its groups die, one per class and size in use
//	a PASID in a domain               O(1): its nodes die, likewise
//	addresses in a domain             one probe per page, size in use and live PASID selected
//	addresses, many pages             a scan of the array, when that is less work
//	a PASID or addresses of any domain    a scan of the array
//	kinds, without addresses          a scan of the array
//
// Records are found by full comparison, never by hash alone, so nothing is dropped that does not
// match, and records are bounded by the entries that name them. The counters of [emu.CacheStats]
// are exact at once, also for entries whose place is not reused yet.
//
// # What it does not model
//
// Ports, latencies and banks: those belong to the timed executor. Sources: no entry of these caches
// knows which device it was made for, so emu.MatchSource restricts nothing here; an invalidation
// by source that a unit directs at translations drops all that its other fields select. That is
// the safe reading, the one of emu.Txn.Matches: never to keep what might have to go.
//
// A Cache is not safe for concurrent use.
package iotlb
