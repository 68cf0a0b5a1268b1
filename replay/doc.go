// Package replay ties a trace, devices, a timed machine and host actions together, and measures
// what running DMA sees while context entries are rewritten underneath.
//
// A run is one cell of (mode, writer, to): a machine of its own with one unit, the driver that
// programs it, and a DMA engine per requester of the trace. One processor follows the trace: it
// maps and unmaps through the driver, hands accesses to the engines, and from time to time moves a
// device (or one PASID of it) to a fresh domain with the writer under test. Cells run in parallel;
// each is a function of its inputs and the seed.
//
// What a request saw is judged by provenance, never by address alone: a result names the entry
// version it used, the one in force when its cached translation was filled, and the leaf entry.
//
//	old or new throughout   as it should be
//	old, read after the rewrite was declared complete   stale
//	anything else           wrong
//
// An entry whose assembled parts were at no instant its declared content is a torn read.
package replay
