package iotlb

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
)

// FuzzCache reads a program of fills, probes, invalidations and checkpoints from the input and
// runs it on a cache and on the model.
func FuzzCache(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0xff, 0xfe})
	f.Add([]byte{2, 0, 0x11, 0x10, 0, 0x12, 0x10, 2, 0x81, 0x21, 1, 0x11, 0x10, 3, 0, 0})
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) == 0 || len(program) > 600 {
			return
		}
		g := testGeometries[int(program[0])%len(testGeometries)]
		c := mustNew(t, g)
		m := newModel(c)
		for p := program[1:]; len(p) >= 4; p = p[4:] {
			tag := emu.MakeTag(someClasses[p[1]%3], someDomains[p[1]/4%6], somePASIDs[p[1]>>6])
			addr := uint64(p[2]&0x0f)<<12 | uint64(p[2]>>4)<<21 | uint64(p[3]&1)<<63
			key := emu.Key{Tag: tag, Addr: addr}
			switch p[0] % 8 {
			case 0, 1, 2:
				val := [4]uint64{uint64(p[0]), addr, uint64(tag)}
				lg2 := someSizes[p[3]>>1%6]
				kind := p[2] % 3
				c.Fill(&key, lg2, uint32(kind), &val)
				m.fill(key, lg2, tag.Domain(), kind, val)
			case 3, 4:
				var got, want [4]uint64
				require.Equal(t, m.probe(key, &want), c.Probe(&key, &got))
				require.Equal(t, want, got)
			case 5, 6:
				s := &emu.Selector{Match: emu.Match(p[0]>>3) | emu.Match(p[1])&emu.MatchKind, Classes: 1 << tag.Class(), Kinds: 1 << (p[2] % 3), Domain: tag.Domain(), PASID: tag.PASID(), First: addr, Last: addr + uint64(p[3])<<12}
				if p[3] == 0xff {
					s.Last = math.MaxUint64
				}
				c.Invalidate(s)
				m.invalidate(s)
			default:
				c.ageForTest()
				b := save(c)
				require.NoError(t, c.Restore(emu.NewDecoder(b)))
				require.Equal(t, b, save(c))
			}
			require.Empty(t, m.diff(c))
			require.Empty(t, c.broken())
		}
	})
}

// FuzzRestore gives damaged checkpoints to Restore: an error that wraps emu.ErrState and an empty
// cache, or a cache whose bookkeeping holds and that saves to a checkpoint that restores.
func FuzzRestore(f *testing.F) {
	for i, g := range testGeometries {
		c := mustNew(f, g)
		for p := range uint64(5) {
			fill(c, 1, uint32(p%2), emu.NoPASID, p<<12, 12)
			fill(c, 0, 1, emu.PASID(p), p<<21, 21)
		}
		b := save(c)
		f.Add(uint8(i), b)
		f.Add(uint8(i), b[:len(b)-9])
		bad := append([]byte(nil), b...)
		bad[len(bad)-60] ^= 0x40
		f.Add(uint8(i), bad)
	}
	f.Fuzz(func(t *testing.T, i uint8, b []byte) {
		c := mustNew(t, testGeometries[int(i)%len(testGeometries)])
		if err := c.Restore(emu.NewDecoder(b)); err != nil {
			require.ErrorIs(t, err, emu.ErrState)
			require.Zero(t, c.Len())
		}
		require.Empty(t, c.broken())
		again := save(c)
		require.NoError(t, c.Restore(emu.NewDecoder(again)))
		require.Equal(t, again, save(c))
	})
}
