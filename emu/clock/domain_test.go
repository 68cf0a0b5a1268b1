package clock

import (
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestConversionOfUsualClocks(t *testing.T) {
	ns := Hz(1_500_000_000).To(Nanoseconds)
	require.EqualValues(t, 0, ns.Floor(1))
	require.EqualValues(t, 1, ns.Ceil(1))
	require.EqualValues(t, 2, ns.Floor(3))
	require.EqualValues(t, 2, ns.Ceil(3))
	// A year of 3 GHz cycles, exact: a period of 333 ps would be off by 0.1 %.
	year := uint64(365 * 24 * 3600)
	require.Equal(t, year*1e9, Hz(3_000_000_000).To(Nanoseconds).Floor(year*3e9))
	require.Equal(t, year*3e9, Nanoseconds.To(Hz(3_000_000_000)).Floor(year*1e9))
	require.Equal(t, Hz(250_000_000).To(Nanoseconds), Period(4, 1).To(Nanoseconds))
	require.EqualValues(t, 5, Period(1, 2).To(Nanoseconds).Floor(10))
}

func TestConversionSaturates(t *testing.T) {
	r := Hz(1).To(Nanoseconds)
	require.Equal(t, ^uint64(0), r.Floor(1<<60))
	require.Equal(t, ^uint64(0), r.Ceil(1<<60))
	require.Equal(t, ^uint64(0), r.Ceil(^uint64(0)))
	require.Panics(t, func() { Domain{}.To(Nanoseconds) })
	require.Panics(t, func() { Domain{1<<64 - 1, 1}.To(Domain{1, 1<<64 - 3}) })
}

func TestConversionMatchesBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.Uint64Range(1, 1<<31)
		a := Domain{part.Draw(t, "an"), part.Draw(t, "ad")}
		b := Domain{part.Draw(t, "bn"), part.Draw(t, "bd")}
		n := rapid.Uint64().Draw(t, "n")
		mul := func(x ...uint64) *big.Int {
			p := big.NewInt(1)
			for _, v := range x {
				p.Mul(p, new(big.Int).SetUint64(v))
			}
			return p
		}
		num, den := mul(n, b.Num, a.Den), mul(b.Den, a.Num)
		q, rem := new(big.Int).QuoRem(num, den, new(big.Int))
		sat := func(x *big.Int) uint64 {
			if x.IsUint64() {
				return x.Uint64()
			}
			return ^uint64(0)
		}
		r := a.To(b)
		require.Equal(t, sat(q), r.Floor(n))
		if rem.Sign() != 0 {
			q.Add(q, big.NewInt(1))
		}
		require.Equal(t, sat(q), r.Ceil(n))
	})
}
