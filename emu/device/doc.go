// Package device has the DMA engines that sit below an IOMMU.
//
// A [Player] takes requests from a [Source] and keeps a bounded number of them in flight: in a
// closed loop, at recorded times, or at a fixed rate. [Player.Interrupt] sends an MSI. An [Endpoint] does
// so with a device TLB: it asks for translations, sends translated requests, answers invalidations (ATS)
// and asks for pages that are not there (PRI). [Queue] is a source that host-side code fills; [Func] makes
// a source of a function.
//
// They work in a timing.Machine; [Direct] puts them below a unit without time.
//
// Not modelled: prefetching of translations, several translations in one completion, smallest
// translation units above a page, stopping the use of a PASID, memory attributes of ATS.
package device
