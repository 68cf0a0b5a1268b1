package mem

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

func TestUnwrittenMemoryReadsZeroAndTakesNoRoom(t *testing.T) {
	m := New()
	for _, pa := range []emu.PA{0, 0x1000, 1 << 40, DefaultLimit - 8} {
		v, ok := m.Load64(pa)
		require.True(t, ok)
		require.Zero(t, v)
	}
	var b [100]byte
	require.True(t, m.Read(0x12345, b[:]))
	require.True(t, m.Zero(0x5000))
	require.Zero(t, m.Allocated())
	require.True(t, m.Store64(0x1008, 7))
	v, _ := m.Load64(0x1008)
	require.EqualValues(t, 7, v, "the page read before as zero must not be remembered")
	require.Equal(t, 1, m.Allocated())
}

func TestMisalignedAndOddSizesAreBusErrors(t *testing.T) {
	m := New()
	var v, f [4]uint64
	for size := range 256 {
		for off := emu.PA(0); off < 64; off++ {
			legal := size == 4 || size == 8 || size == 16 || size == 32
			want := legal && uint64(off)%uint64(max(size, 1)) == 0
			require.Equal(t, want, m.Load(0x1000+off, uint8(size), &v), "load %d at %d", size, off)
			require.Equal(t, want, m.Store(0x1000+off, uint8(size), &v), "store %d at %d", size, off)
			_, ok := m.CAS(0x1000+off, uint8(size), &v, &v, &f)
			require.Equal(t, want && (size == 8 || size == 16), ok, "cas %d at %d", size, off)
		}
	}
	for off := emu.PA(1); off < 8; off++ {
		_, ok := m.Load64(0x1000 + off)
		require.False(t, ok)
		require.False(t, m.Store64(0x1000+off, 1))
		_, ok = m.Or(0x1000+off, 1)
		require.False(t, ok)
	}
	_, _, ok := m.Load128(0x1008)
	require.False(t, ok)
}

func TestAccessBeyondLimitIsBusError(t *testing.T) {
	m := New()
	for _, pa := range []emu.PA{DefaultLimit, 1 << 60, ^emu.PA(0) &^ 7} {
		_, ok := m.Load64(pa)
		require.False(t, ok)
		require.False(t, m.Store64(pa, 1))
		require.False(t, m.Zero(pa))
	}
	require.True(t, m.Store64(0x10000, 1))
	m.SetLimit(0x10000)
	_, ok := m.Load64(0x10000)
	require.False(t, ok)
	require.True(t, m.Store64(0xfff8, 1))
	require.Equal(t, emu.PA(0x10000), m.Limit())
}

// TestMatchesByteMap runs random accesses against a plain Go map of bytes.
func TestMatchesByteMap(t *testing.T) {
	pages := []emu.PA{0, 0x1000, 0x3ff000, 0x400000, 1<<40 - 0x1000, 1 << 40, 1 << 51, lookSlots << 12}
	rapid.Check(t, func(t *rapid.T) {
		m, ref := New(), map[emu.PA]byte{}
		load := func(pa emu.PA, n int) (v [4]uint64) {
			for i := range n {
				v[i/8] |= uint64(ref[pa+emu.PA(i)]) << (i % 8 * 8)
			}
			return v
		}
		store := func(pa emu.PA, n int, v [4]uint64) {
			for i := range n {
				ref[pa+emu.PA(i)] = byte(v[i/8] >> (i % 8 * 8))
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			size := rapid.SampledFrom([]int{4, 8, 16, 32}).Draw(t, "size")
			pa := rapid.SampledFrom(pages).Draw(t, "page") + emu.PA(rapid.IntRange(0, 128/size-1).Draw(t, "i")*size)
			v := [4]uint64(rapid.SliceOfN(rapid.Uint64(), 4, 4).Draw(t, "words"))
			switch rapid.IntRange(0, 6).Draw(t, "op") {
			case 0, 1:
				require.True(t, m.Store(pa, uint8(size), &v))
				store(pa, size, v)
			case 2:
				pa &^= 15
				old, found := load(pa, 16), [4]uint64{}
				if rapid.Bool().Draw(t, "stale") {
					old[1]++
				}
				swapped, ok := m.CAS(pa, 16, &old, &v, &found)
				require.True(t, ok)
				require.Equal(t, load(pa, 16), found)
				require.Equal(t, old == found, swapped)
				if swapped {
					store(pa, 16, v)
				}
			case 3:
				pa &^= 7
				was := load(pa, 8)[0]
				found, ok := m.Or(pa, v[0])
				require.True(t, ok)
				require.Equal(t, was, found)
				store(pa, 8, [4]uint64{was | v[0]})
			case 4:
				b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
				at := pa + emu.PA(rapid.IntRange(0, 7).Draw(t, "skew"))
				require.True(t, m.Write(at, b))
				for i, x := range b {
					ref[at+emu.PA(i)] = x
				}
				got := make([]byte, len(b))
				require.True(t, m.Read(at, got))
				require.Equal(t, b, got)
			case 5:
				m = m.Clone()
			case 6:
				require.True(t, m.Zero(pa))
				for i := range emu.PA(emu.PageSize) {
					delete(ref, pageOf(pa)+i)
				}
			}
			var got [4]uint64
			require.True(t, m.Load(pa, uint8(size), &got))
			require.Equal(t, load(pa, size), got)
			w, ok := m.Load64(pa &^ 7)
			require.True(t, ok)
			require.Equal(t, load(pa&^7, 8)[0], w)
			lo, hi, ok := m.Load128(pa &^ 15)
			require.True(t, ok)
			require.Equal(t, load(pa&^15, 16), [4]uint64{lo, hi})
		}
	})
}

func TestCloneIsIndependentAndEqual(t *testing.T) {
	m := New()
	m.Store64(0x1000, 1)
	m.Store64(1<<45, 2)
	m.AddBusError(0x9000, 0x9fff, emu.RW)
	c := m.Clone()
	require.True(t, m.Equal(c))
	_, ok := c.Load64(0x9000)
	require.False(t, ok)
	c.Store64(0x1000, 3)
	require.False(t, m.Equal(c))
	v, _ := m.Load64(0x1000)
	require.EqualValues(t, 1, v)
	// A page of zeros equals one that was never written.
	m.Store64(0x1000, 0)
	m.Store64(1<<45, 0)
	require.True(t, m.Equal(New()))
	require.True(t, New().Equal(m))
}

func TestPagesComeInAddressOrder(t *testing.T) {
	m := New()
	want := []emu.PA{0, 0x5000, 0x400000, 1<<40 - 0x1000, 1 << 40, 1 << 47, 1<<52 - 0x1000}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(want)) {
		m.Store64(want[i]+8, 1)
	}
	var got []emu.PA
	for pa, p := range m.Pages() {
		require.EqualValues(t, 1, p[1])
		got = append(got, pa)
	}
	require.Equal(t, want, got)
	require.Equal(t, len(want), m.Allocated())
}

func TestAccessAllocatesNothing(t *testing.T) {
	m := New()
	for i := range emu.PA(1024) {
		m.Store64(i<<12, uint64(i))
	}
	var v, f [4]uint64
	i := emu.PA(0)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		pa := i << 12
		i = (i + 1) % 1024
		m.Load64(pa)
		m.Load128(pa)
		m.Store64(pa, 1)
		m.Load(pa, 32, &v)
		m.Store(pa, 32, &v)
		m.CAS(pa, 16, &v, &v, &f)
		m.Or(pa, 1)
		m.Zero(pa)
		m.Load64(1 << 45)
	}))
}
