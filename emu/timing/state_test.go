package timing

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// busy returns the checkpoint of a machine with something in every place.
func busy() []byte {
	b := newBench(params(), tlb)
	b.cpu.OnIRQ(func() {})
	for i := range 12 {
		b.request(uint32(i), i%5)
	}
	b.cpu.WriteReg(0, 0, 8, 2)
	b.cpu.Store64(toyTable+3*8, 0x7777_7001)
	b.RunUntil(300)
	b.interrupt(0)
	var e emu.Encoder
	b.Save(&e)
	return e.Bytes()
}

func restore(state []byte) (*bench, error) {
	b := newBench(params(), tlb)
	b.cpu.OnIRQ(func() {})
	return b, b.Restore(emu.NewDecoder(state))
}

func TestCheckpoint_AFlippedBitIsAnError(t *testing.T) {
	state := busy()
	b := newBench(params(), tlb)
	b.cpu.OnIRQ(func() {})
	for bit := 0; bit < len(state)*8; bit++ {
		if bit > 1000 {
			bit += 1009
		}
		if bit >= len(state)*8 {
			break
		}
		state[bit/8] ^= 1 << (bit % 8)
		require.ErrorIs(t, b.Restore(emu.NewDecoder(state)), emu.ErrState, "bit %d", bit)
		state[bit/8] ^= 1 << (bit % 8)
	}
	require.Zero(t, b.Now(), "damage is found before anything is changed")
	require.NoError(t, b.Restore(emu.NewDecoder(state)))
}

func TestCheckpoint_ProcessorFlags(t *testing.T) {
	for _, on := range []bool{true, false} {
		b := newBench(params(), tlb)
		b.cpu.splits, b.cpu.inIRQ = on, !on
		var e emu.Encoder
		b.Save(&e)
		r := newBench(params(), tlb)
		r.cpu.splits, r.cpu.inIRQ = !on, on
		require.NoError(t, r.Restore(emu.NewDecoder(e.Bytes())))
		require.Equal(t, on, r.cpu.splits)
		require.Equal(t, !on, r.cpu.inIRQ)
	}
}

// A checkpoint names units, devices and interrupts by number: a machine with others cannot take it.
func TestCheckpoint_OfAnotherMachineIsAnError(t *testing.T) {
	state := busy()
	for name, change := range map[string]func(b *bench){
		"an interrupt less":    func(b *bench) { b.msi = b.msi[:0] },
		"an interrupt more":    func(b *bench) { b.cpu.OnIRQ(func() {}) },
		"a device more":        func(b *bench) { b.AddClient(&counter{}) },
		"a processor more":     func(b *bench) { b.AddCPU(1) },
		"a unit more":          func(b *bench) { b.AddUnit(newToy(tlb), 1) },
		"another store buffer": func(b *bench) { b.cpu.buffer = b.cpu.buffer[:2] },
	} {
		b := newBench(params(), tlb)
		b.cpu.OnIRQ(func() {})
		change(b)
		require.ErrorIs(t, b.Restore(emu.NewDecoder(state)), emu.ErrState, name)
	}
	_, err := restore(state)
	require.NoError(t, err)
}

// A count that is wrong although the checksum is right allocates no more than the bytes left.
func TestCheckpoint_CountsAreBoundedByTheBytesLeft(t *testing.T) {
	var e emu.Encoder
	b := newBench(params(), tlb)
	b.cpu.save(&e)
	head := len("timing.CPU") + 2*8                     // name and version
	for _, field := range []int{head + 40, head + 48} { // register writes, interrupts
		for _, n := range []uint64{1 << 10, 1 << 19, 1 << 40, 1<<64 - 1} {
			state := slices.Clone(e.Bytes())
			binary.LittleEndian.PutUint64(state[field:], n)
			require.ErrorContains(t, b.cpu.restore(emu.NewDecoder(state)), "pending")
		}
	}
}

func TestCheckpoint_SealedIsReadToItsEndAndNoFurther(t *testing.T) {
	var e emu.Encoder
	e.Sealed(func(e *emu.Encoder) { e.U64(1); e.U64(2) })
	e.U64(3)
	word := func(want uint64) func(d *emu.Decoder) error {
		return func(d *emu.Decoder) error { require.Equal(t, want, d.U64()); return d.Err() }
	}
	d := emu.NewDecoder(e.Bytes())
	require.NoError(t, d.Sealed(func(d *emu.Decoder) error { _ = word(1)(d); return word(2)(d) }))
	require.EqualValues(t, 3, d.U64())
	d = emu.NewDecoder(e.Bytes())
	require.ErrorContains(t, d.Sealed(word(1)), "offset 24: 8 bytes left over")
	require.ErrorIs(t, d.Err(), emu.ErrState, "the error sticks")
	require.ErrorIs(t, emu.NewDecoder(e.Bytes()).Sealed(func(d *emu.Decoder) error {
		for range 3 {
			d.U64()
		}
		return nil
	}), emu.ErrState)
}

func FuzzRestore(f *testing.F) {
	state := busy()
	f.Add(state, uint32(0))
	f.Add(state[:len(state)/2], uint32(77))
	f.Add([]byte{}, uint32(len(state)*8-1))
	f.Fuzz(func(t *testing.T, b []byte, bit uint32) {
		m, err := restore(b)
		if bytes.HasPrefix(b, state) {
			require.NoError(t, err)
			m.drain()
		} else {
			require.ErrorIs(t, err, emu.ErrState)
		}
		flipped := slices.Clone(state)
		flipped[int(bit/8)%len(flipped)] ^= 1 << (bit % 8)
		_, err = restore(flipped)
		require.ErrorIs(t, err, emu.ErrState)
	})
}
