// Package lab lays out, and explores on the real units, how one raw entry becomes another.
//
// A [Kind] is one kind of entry of one architecture: its format, the commands that drop what caches hold of
// it, and a bench - a unit with one such entry, and memory below it. [Kind.Plan] runs a writer on paper and
// tells each step. [Kind.Explore] runs it on the bench, and gives what it did to package hitless.
//
// Below an entry lie tables that the bench makes: each pointer leads to tables of its own, which map one
// address to a page of its own, so that where a request ends says by which pointers it went. With two stages
// the page tells both. The tables of a first stage, and what leads to them, lie at the same address for
// the guest as for the host.
package lab
