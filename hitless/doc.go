// Package hitless explores what a request can see while software rewrites the structures it is
// translated by: exhaustively, through the real unit.
//
// The host's program is a list of steps: stores, and invalidations that are waited for. A request's
// only freedom is, for each of its loads, after which host step the load falls, and, for each look
// into a cache, which of the copies that may still be held it finds, or none. The explorer drives
// the unit's own transaction through every choice:
//
//   - a load never falls before one that the transaction made earlier;
//   - a load does not fall after a waited-for invalidation that concerns the transaction if the
//     transaction was under way before: the wait would not have ended;
//   - of points with the same value only the first is tried, since all that can follow a later one
//     can follow the first as well;
//   - a cache may hold every value that some reachable fill put there, from the step of the fill until
//     an invalidation of it. The set is grown by exploring until nothing new appears.
//
// Limits: one request at a time (other requests of the same kind act through what they leave in
// caches); host steps become visible in program order; interrupts and faults a request raises do
// not act back.
package hitless
