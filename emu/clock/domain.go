package clock

import "math/bits"

// Cycles counts periods of a clock.
type Cycles uint64

// Domain is the frequency of a clock: Num/Den hertz. Both are at least 1.
type Domain struct{ Num, Den uint64 }

// Nanoseconds is the domain whose cycle is one nanosecond of simulated time.
var Nanoseconds = Domain{Num: 1_000_000_000, Den: 1}

// Hz returns the domain of a clock with n cycles a second.
func Hz(n uint64) Domain { return Domain{Num: n, Den: 1} }

// Period returns the domain of a clock whose cycle takes num/den nanoseconds.
func Period(num, den uint64) Domain {
	hi, lo := bits.Mul64(den, 1_000_000_000)
	if hi != 0 {
		panic("clock: period denominator times 10^9 must fit 64 bits")
	}
	return Domain{Num: lo, Den: num}
}

// Ratio converts counts of one clock to counts of another: times num, divided by den, in 128 bits.
// Both clocks have an edge at 0, so converting a time never accumulates an error.
type Ratio struct{ num, den uint64 }

// To returns the conversion of counts of d to counts of o. It panics if a domain has a zero
// frequency, or if the ratio of the two does not fit two 64-bit numbers after reduction.
func (d Domain) To(o Domain) Ratio {
	if d.Num == 0 || d.Den == 0 || o.Num == 0 || o.Den == 0 {
		panic("clock: a domain has a frequency above 0")
	}
	// n cycles of d are n*d.Den/d.Num seconds.
	a, b := reduce(o.Num, o.Den)
	p, q := reduce(d.Den, d.Num)
	a, q = reduce(a, q)
	p, b = reduce(p, b)
	numHi, num := bits.Mul64(a, p)
	denHi, den := bits.Mul64(b, q)
	if numHi != 0 || denHi != 0 {
		panic("clock: the ratio of two clocks must fit 64 bits")
	}
	return Ratio{num, den}
}

// Floor converts n and rounds down: the last edge of the other clock not after edge n. A result
// beyond 64 bits is the largest one.
func (r Ratio) Floor(n uint64) uint64 {
	hi, lo := bits.Mul64(n, r.num)
	return r.quo(hi, lo)
}

// Ceil converts n and rounds up: the first edge of the other clock not before edge n. A result
// beyond 64 bits is the largest one.
func (r Ratio) Ceil(n uint64) uint64 {
	hi, lo := bits.Mul64(n, r.num)
	lo, carry := bits.Add64(lo, r.den-1, 0)
	hi, carry = bits.Add64(hi, 0, carry)
	if carry != 0 {
		return ^uint64(0)
	}
	return r.quo(hi, lo)
}

func (r Ratio) quo(hi, lo uint64) uint64 {
	if hi >= r.den {
		return ^uint64(0)
	}
	q, _ := bits.Div64(hi, lo, r.den)
	return q
}

// reduce divides both by their greatest common divisor.
func reduce(a, b uint64) (uint64, uint64) {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x, b / x
}
