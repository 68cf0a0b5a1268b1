// Package reverse makes units read the parts of an entry in descending order. The architectures fix no
// order for an entry that is present all the time; the units read in ascending order. What is hitless is so
// with both.
package reverse
