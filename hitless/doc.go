// Package hitless explores what a request can see while software rewrites the structures it is
// translated by: exhaustively, through the real unit.
//
// The host's program is a list of steps: stores, and invalidations that are waited for. Stores become
// visible in program order, or, with Scenario.Weak, in any order between two fences. A request's
// only freedom is, for each of its loads, after which host steps the load falls, and, for each look
// into a cache, which of the copies that may still be held it finds, or none. The explorer drives
// the unit's own transaction through every choice:
//
//   - a load never falls before one that the transaction made earlier;
//   - nothing that a transaction does falls after a waited-for invalidation that matches it: the
//     invalidation marks it, and the wait does not end before the transaction has. It may still fall
//     while that step has not ended: after host step i, if the invalidation is step i+1;
//   - of points with the same value only the first is tried, since all that can follow a later one
//     can follow the first as well; of those in different orders of the stores, the first of each;
//   - a fill falls at once or just behind an invalidation that the transaction can pass: a request that
//     loads early may fill late;
//   - a cache may hold every value that some reachable fill put there, from the step of the fill until
//     an invalidation of it. The set is grown by exploring until nothing new appears.
//
// States that were reached before are not followed again, and simpler ways are followed first, so that
// what is reported has a shortest path.
//
// The exploration finds too much rather than too little; see Explore.
//
// Limits: one request at a time (other requests of the same kind act through what they leave in
// caches); requests that write memory end with
// ErrUnsupported, except for flags that they set in an entry, which are not kept; interrupts and faults a request raises do not act back.
package hitless
