// Package entry rewrites the entries that tie a device to its translation - those of devices and of PASIDs,
// whatever an architecture calls them, and those of page tables - while DMA runs through them.
//
// An entry is a few 64-bit words, fetched by hardware and stored by software in atomic units. A
// [Format] says which bits of a given content hardware looks at. From that the planner
// ([Format.Plan]) finds an order of stores in which hardware, whatever mixture of units it reads,
// sees the old content or the new one and nothing else; or says why there is none. Where an id stands
// in the way that tags what caches hold, [Means] says by which ids a plan may go.
//
// Four [Writer]s carry a rewrite out on a processor: [Hitless] follows the plan, [Linux] does what
// Linux 7.3 does when a device moves to another domain, [Naive] and [BreakMake] are there to be
// compared with. What has to be invalidated, and how, is the architecture's: an [Invalidator].
//
// # Order
//
// Readers are bounded by synchronisations. A fetch that began before one has ended, or starts again
// from its first unit, when it is complete; no cache holds anything of the entry from before. Between
// two of them a reader may combine units of any two moments.
package entry
