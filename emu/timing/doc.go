// Package timing is the timed executor: it drives the transactions of units against a clock. It
// answers each question when the modelled memory, port, walker or link would, orders everything in
// simulated time, and lets processors and devices act in between.
//
// Modelled: link latency, ingress width, tag-read and cache-port latencies, miss status registers
// that merge requests to one fetch, a limited number of walkers, memory latency and bandwidth,
// entries fetched in atomic parts, invalidation with draining, queue engines, message latency,
// posted and non-posted register access, processors with store buffers and interrupts.
//
// Time is counted in cycles of the IOMMU clock. Events at one cycle are ordered by kind (effects of
// processors before hardware) and then by the order in which they were scheduled, so a run is a
// function of its inputs alone.
//
// Horizon rule: work may be done ahead of its event only if its time comes before the next pending
// event and not after the time the processor has granted. Caches and memory are therefore always
// read in global time order.
//
// docs/timing.md has the closed formulas that follow from this model.
package timing
