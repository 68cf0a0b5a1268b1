package reg_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
)

func TestBitsGetAndSet(t *testing.T) {
	for _, c := range []struct {
		b      reg.Bits
		lo, hi uint
		mask   uint64
	}{
		{0_000, 0, 0, 1}, {11_004, 4, 11, 0xff0}, {63_000, 0, 63, ^uint64(0)}, {63_063, 63, 63, 1 << 63},
		{87_072, 72, 87, 0xffff00}, {127_076, 76, 127, ^uint64(0xfff)}, {511_511, 511, 511, 1 << 63},
	} {
		require.Equal(t, c.lo, c.b.Lo())
		require.Equal(t, c.hi, c.b.Hi())
		require.Equal(t, c.mask, c.b.Mask())
		words := make([]uint64, 8)
		c.b.Set(words, ^uint64(0))
		require.Equal(t, c.mask, words[c.b.Word()])
		require.Equal(t, c.b.Max(), c.b.Get(words))
		require.Equal(t, c.b.Max(), c.b.Of(words[c.b.Word()]))
		require.Equal(t, c.mask, c.b.Put(^uint64(0)))
		c.b.Set(words, 0)
		require.Equal(t, make([]uint64, 8), words)
	}
}

func TestSettersMask(t *testing.T) {
	const b reg.Bits = 7_004
	w := []uint64{0xf0f}
	b.Set(w, 0xfff)
	require.EqualValues(t, 0xfff, w[0])
	b.Set(w, 0x12)
	require.EqualValues(t, 0xf2f, w[0])
	require.EqualValues(t, 0x20, b.Put(0x12))
}

func TestBitsMayCrossAWord(t *testing.T) {
	const b reg.Bits = 71_060
	w := []uint64{0, 0}
	b.Set(w, 0xabc)
	require.Equal(t, []uint64{0xc << 60, 0xab}, w)
	require.EqualValues(t, 0xabc, b.Get(w))
	require.EqualValues(t, 0xc, b.Get(w[:1]), "what is missing counts as zero")
	b.Set(w[:1], 0xfff)
	require.Equal(t, []uint64{0xf << 60, 0xab}, w)
	require.Zero(t, b.Get(nil))
	b.Set(nil, 1)
}

func TestJointIsPutTogether(t *testing.T) {
	j := reg.Joint{Pieces: []reg.Piece{reg.Bits(7_004).At(12), reg.Bits(66_062).At(16), reg.Bits(95_088).At(56)}}
	require.Equal(t, uint64(0xab<<56|0x1d<<16|0x3<<12), j.Get([]uint64{1<<62 | 0x30, 0xab00_0007}))
	require.EqualValues(t, 1<<16|0xf<<12, j.Get([]uint64{1<<62 | 0xf0}), "what is missing counts as zero")
	require.Zero(t, j.Get(nil))
}

func TestLayoutReserved(t *testing.T) {
	l := reg.Layout{Name: "x", Bits: 96, Fields: []reg.Field{reg.Bits(3_000).Field("A", ""), reg.Bits(71_060).Field("B", "")}}
	require.Equal(t, 2, l.Words())
	require.Equal(t, []uint64{0xf | 0xf<<60, 0xff}, l.Covered())
	require.Equal(t, []uint64{^uint64(0xf | 0xf<<60), 0xffff_ff00}, l.Reserved([]uint64{^uint64(0), ^uint64(0)}))
	f, ok := l.Field("B")
	require.True(t, ok)
	require.EqualValues(t, 71_060, f.Bits())
	_, ok = l.Field("C")
	require.False(t, ok)
}

const (
	rLong = iota
	rLow
	rHigh
	rWriteOnly
)

func file(t *testing.T) *reg.File {
	f, err := reg.NewFile(0x40, []reg.Reg{
		{Name: "LONG", Off: 0, Size: 8, Reset: 0x55, RW: 0xffff_ffff_ffff_ff00, Effect: 7},
		{Name: "LOW", Off: 8, Size: 4, RW: 0xff, Effect: 1},
		{Name: "HIGH", Off: 12, Size: 4, Reset: 0xf0f, W1C: 0xff, Sticky: 0xf, Effect: 2},
		{Name: "WO", Off: 16, Size: 4, RW: 0xff, WO: true},
	})
	require.NoError(t, err)
	return f
}

func TestFileMasks(t *testing.T) {
	f := file(t)
	var c [2]reg.Change
	require.Equal(t, 1, f.Write(0, 8, ^uint64(0), &c))
	require.Equal(t, reg.Change{Index: rLong, Effect: 7, Raw: ^uint64(0), Written: ^uint64(0), Old: 0x55, New: ^uint64(0xff) | 0x55}, c[0])
	require.Equal(t, 1, f.Write(12, 4, 0x3, &c))
	require.EqualValues(t, 0xf0c, f.Read(12, 4), "write 1 clears, outside the mask nothing changes")
	f.Write(16, 4, 0x12, &c)
	require.Zero(t, f.Read(16, 4))
	require.EqualValues(t, 0x12, f.Get(rWriteOnly))
}

func TestFileHalves(t *testing.T) {
	f := file(t)
	var c [2]reg.Change
	require.Equal(t, 1, f.Write(4, 4, 0x1234_5678, &c))
	require.EqualValues(t, 0x1234_5678_0000_0055, f.Read(0, 8))
	require.EqualValues(t, 0x1234_5678, f.Read(4, 4))
	require.EqualValues(t, uint64(0xffff_ffff)<<32, c[0].Written)
	require.Equal(t, 2, f.Write(8, 8, 0xff_0000_00ab, &c), "two short registers, low one first")
	require.Equal(t, rLow, c[0].Index)
	require.Equal(t, rHigh, c[1].Index)
	require.EqualValues(t, 0xf00<<32|0xab, f.Read(8, 8))
}

func TestFileOddAccesses(t *testing.T) {
	f := file(t)
	var c [2]reg.Change
	for _, size := range []uint8{0, 1, 2, 3, 5, 16, 255} {
		require.Zero(t, f.Read(0, size))
		require.Zero(t, f.Write(0, size, ^uint64(0), &c))
	}
	for _, off := range []uint32{1, 4, 20, 0x3c, 0x40, 0xffff_fff8, 0xffff_fffc} {
		require.Zero(t, f.Read(off, 8)&^0xffff_ffff)
		f.Write(off, 8, ^uint64(0), &c)
	}
	require.EqualValues(t, 0x55, f.Get(rLong))
}

func TestFileReset(t *testing.T) {
	f := file(t)
	f.Set(rHigh, 0xffff_ffff_ffff)
	require.EqualValues(t, 0xffff_ffff, f.Get(rHigh), "hardware does not exceed the width either")
	f.Set(rHigh, 0xff)
	f.Reset(emu.ResetWarm)
	require.EqualValues(t, 0xf0f, f.Get(rHigh))
	f.Set(rHigh, 0x3)
	f.Reset(emu.ResetWarm)
	require.EqualValues(t, 0xf03, f.Get(rHigh))
	f.Reset(emu.ResetCold)
	require.EqualValues(t, 0xf0f, f.Get(rHigh))
}

func TestFileSaveRestore(t *testing.T) {
	f := file(t)
	f.Set(rLong, 0x77)
	var e emu.Encoder
	f.Save(&e)
	g := file(t)
	require.NoError(t, g.Restore(emu.NewDecoder(e.Bytes())))
	require.EqualValues(t, 0x77, g.Get(rLong))
	require.ErrorIs(t, g.Restore(emu.NewDecoder(e.Bytes()[:12])), emu.ErrState)
	var short emu.Encoder
	short.Words([]uint64{1})
	require.ErrorIs(t, g.Restore(emu.NewDecoder(short.Bytes())), emu.ErrState)
}

func TestFileErrorsNameTheRegister(t *testing.T) {
	for text, table := range map[string][]reg.Reg{
		"SIZE": {{Name: "SIZE", Off: 0, Size: 2}},
		"ODD":  {{Name: "ODD", Off: 4, Size: 8}},
		"FAR":  {{Name: "FAR", Off: 0x40, Size: 4}},
		"MASK": {{Name: "MASK", Size: 4, RW: 3, W1C: 2}},
		"WIDE": {{Name: "WIDE", Size: 4, RW: 1 << 32}},
		"TWO":  {{Name: "ONE", Size: 8}, {Name: "TWO", Off: 4, Size: 4}},
	} {
		_, err := reg.NewFile(0x40, table)
		require.ErrorContains(t, err, text)
	}
}

func TestTableAt(t *testing.T) {
	table := reg.Table{{Name: "ONE", Size: 4}, {Name: "TWO", Off: 8, Size: 8}}
	require.Equal(t, table[1], table.At(8))
	_, err := reg.NewFile(0x40, []reg.Reg{table.At(4)})
	require.Error(t, err)
}

func TestFileAllocatesNothing(t *testing.T) {
	f := file(t)
	var c [2]reg.Change
	require.Zero(t, testing.AllocsPerRun(100, func() {
		f.Write(0, 8, 1, &c)
		f.Write(8, 8, 1, &c)
		f.Read(0, 8)
	}))
}

func TestNamesOfTheFieldsThatHaveABit(t *testing.T) {
	l := reg.Layout{Name: "x", Bits: 64, Fields: []reg.Field{reg.Bits(3_000).Field("A", ""), reg.Bits(5_005).Field("B", "")}}
	require.Equal(t, []string{"X.A", "X.B"}, l.Names("X", 0x1e|0x20))
	require.Empty(t, l.Names("X", 0x10))
}

func TestOnes(t *testing.T) {
	for n, want := range map[uint8]uint64{0: 0, 1: 1, 12: 0xfff, 63: 1<<63 - 1, 64: ^uint64(0), 200: ^uint64(0)} {
		require.Equal(t, want, reg.Ones(n))
	}
}
