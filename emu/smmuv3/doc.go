// Package smmuv3 models an Arm SMMUv3 at register level: its Non-secure programming interface.
//
// It is programmed as hardware is: through its two register pages and through tables and queues in
// memory. It never reads memory itself; it asks an executor (see package emu). docs/smmuv3.md lists what
// is advertised, what is modelled, and what is not.
//
// # State machine
//
// A transaction's State names the step that will consume the next answer. Each step is a method of
// Unit named after what it does in the specification; step.go is the table. The files follow a
// transaction: translate.go (front end), stream.go and ste.go (stream table), substream.go, context.go and
// cd.go (context descriptors), regime.go and ttd.go (descriptors of translation tables), tlb.go (IOTLB),
// stage1.go, stage2.go, nested.go (stage 2 of addresses that stage 1 or a context descriptor needs),
// rights.go, fault.go, event.go and merge.go (faults, event queue); command.go, commands.go, invalidate.go,
// kinds.go and prefetch.go are the command queue, cont.go and conflict.go what cached copies have to do with each
// other, unsupported.go what is refused as it arrives, message.go the unit's own interrupts, control.go and
// guard.go what register writes set off.
//
// # Levels
//
// Arm counts the levels of a table from the top, this code from the leaves: the table of level 0 holds
// pages. Arm's level n is level 3-n here.
//
// # Cached values
//
// What the unit puts into its caches is opaque to everyone else:
//
//	CacheEntry   STE: W0..W3 its first words, flags in bits of W1 that hardware may use (values.go)
//	             L1STD: W0 the descriptor, W1 flags
//	CachePASID   CD: W0..W2 its first words, flags in reserved bits of W1; W3 its part of the version
//	             L1CD: W0 the descriptor, W1 flags
//	CacheIOTLB   W0 page | lg2 11:6 | rights 5:0; W1 attributes; W2 version; W3 leaf address
//	CacheStage2  the same, of intermediate physical addresses
//	CacheWalk    W0 table | limits 11:8 | level 2:0; W2 version
//	CacheWalk2   the same, of stage 2 tables on behalf of stage 1
//
// The version is that of the entries in force when the value was made (see Version).
package smmuv3
