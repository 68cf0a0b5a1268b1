// Package amdvi models an AMD-Vi unit at register level.
//
// It is programmed as hardware is: through its register window and through tables, a command buffer
// and logs in memory. It never reads memory itself; it asks an executor (see package emu).
// docs/amdvi.md lists what is advertised, what is modelled, and what is not.
//
// # State machine
//
// A transaction's State names the step that will consume the next answer. Each step is a method of
// Unit named after what it does in the specification; step.go is the table. The files follow a
// request: translate.go (front end), special.go (address ranges), device.go (device table), tlb.go
// (IOTLB), host.go (host tables, v1), guest.go and gcr3.go (guest tables, v2), nested.go (host
// translation of guest addresses), interrupt.go, irte.go and vapic.go (interrupts), ppr.go (page
// requests), ats.go (device IOTLBs), fault.go and log.go (events and logs); command.go, commands.go and
// invalidate.go are the command buffer, message.go the unit's own interrupts, control.go what
// register writes set off.
//
// # Levels
//
// The specification counts the levels of a table from 1, this code from 0: the table of level 0
// holds the smallest leaves. An entry's NextLevel n means the table of level n-1.
//
// # Cached values
//
// What the unit puts into its caches is opaque to everyone else:
//
//	CacheEntry       W0..W2 the DTE; W3 its upper bits and flags (values.go)
//	CachePASID       W0 GCR3 table entry; W1 GCR3 table | levels; W2 version
//	CacheIOTLB       W0 page | lg2 11:6 | rights 5:0; W1 attributes; W2 version; W3 leaf address
//	CacheStage2      the same, of guest physical addresses
//	CacheWalk        W0 table | level 11:8 | rights 5:0; W2 version
//	CacheWalk2       the same, of host tables on behalf of guest tables
//	CacheInterrupt   W0, W1 the interrupt table entry
//
// The version is that of the entry in force when the value was made (see DTEVersion).
package amdvi
