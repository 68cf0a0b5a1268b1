// Package device has the DMA engines that sit below an IOMMU in a timed machine.
//
// A [Player] takes requests from a [Source] and keeps a bounded number of them in flight: in a
// closed loop, at recorded times, or at a fixed rate. [Queue] is a source that host-side code
// fills; [Func] makes a source of a function. [Player.Interrupt] sends an MSI.
//
// Not modelled: endpoints with a device TLB (ATS) and page requests (PRI).
package device
