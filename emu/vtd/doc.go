// Package vtd models an Intel VT-d remapping unit at register level.
//
// It is programmed as hardware is: through its register window and through tables and queues in
// memory. It never reads memory itself; it asks an executor (see package emu). Modelled are legacy
// and scalable mode with first-stage, second-stage and nested translation and pass-through, the
// invalidation queue and the register-based interface, fault recording, event interrupts, protected
// memory regions, ATS requests, device-TLB invalidation and page requests, caching mode, interrupt
// remapping and posting, performance counters. docs/vtd.md lists what is advertised, what is modelled,
// and what is not. Clauses in comments are those of revision 5.1 of the specification.
//
// # State machine
//
// A transaction's State names the step that will consume the next answer. Each step is a method of
// Unit named after what it does in the specification; step.go is the table. The files follow the
// order of the specification: translate.go (front end), legacy.go and scalable.go (entries), tlb.go
// (IOTLB), firststage.go, secondstage.go and nested.go (paging), ats.go (device-TLBs), prq.go (page requests),
// interrupt.go and posted.go, then fault.go, event.go, queue.go, gcmd.go. lookup.go is the fused path of
// a hit. While counters count, slow.go stands in front of it and of the steps; perf.go, count.go and
// ecmd.go are what it counts for. presets.go has the named units.
//
// # Cached values
//
// What the unit puts into its caches is opaque to everyone else:
//
//	CacheEntry      W0, W1 the first 16 bytes of the entry; W2 version; W3 flags
//	CachePASID      W0, W2 and the lower half of W1 of the entry; in the upper half of W1 flags; W3 version
//	CacheIOTLB      W0 page | lg2 11:6 | rights 5:0; W1 attributes; W2 version; W3 leaf address
//	CacheWalk       W0 table | level 11:8 | rights 5:0; W1 nested: rights of the second stage; W2 version;
//	                nested: W2, W3 versions of both stages
//	CacheWalk2      W0 table | level 11:8 | rights 5:0; W2 version of the second stage
//	CacheStage2     W0, W1 as in the IOTLB; W2 version of the second stage
//	CacheInterrupt  W0, W1 the entry
//
// The version is that of the entry in force when the value was made (see ContextVersion). Flags and
// attributes are in values.go.
package vtd
