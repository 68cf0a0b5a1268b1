// Package clock is simulated time: integer cycles, conversion between clock domains without
// drift, an event queue with a total order, and seeded random streams. No wall clock, no floating
// point, no goroutines: the same inputs give the same bytes.
package clock
