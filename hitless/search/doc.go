// Package search is a second opinion on package hitless: a plain search over the states of one concrete
// machine, through the real unit. It shares no reduction with the explorer, and none of its code.
//
// The machine is a processor with a store buffer, memory with what was stored, caches with the lines that
// fills have put there, and a few places for requests in flight. What happens is one of these at a time:
//
//   - the processor gives a store to its buffer; a store in the buffer becomes visible: the oldest one, or,
//     weakly ordered, any that no older one to the same place precedes;
//   - an invalidation drops what it names from the caches, and marks the requests in flight that may have used
//     it; the wait behind it ends when those have;
//   - a request begins, if a place is free;
//   - a request in flight is answered one question, from memory and caches as they are, and asks the next: a
//     fill of one that is marked is dropped; one that wants what another is fetching may wait for that;
//   - a cache loses a line.
//
// Run follows all of them from each state that it meets, breadth first, until it meets no new one. So what
// it finds is what this machine can do, with the number of requests in flight and in all that Bounds says:
// a part of what any machine can do, where the explorer claims to find all of it. What it finds and the
// explorer does not is a mistake of one of them.
package search
