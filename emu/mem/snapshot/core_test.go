package snapshot

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// sample is a memory with a hole, a page above 1 TiB and a segment that is not page aligned.
func sample() (*mem.Memory, *Core) {
	m := mem.New()
	m.Store64(0x1000, 0x1122334455667788)
	m.Store64(0x2ff8, 7)
	m.Store64(1<<41, 9)
	m.Store64(0x8008, 5)
	return m, &Core{
		Machine: elf.EM_S390,
		Segments: []Segment{
			{0x1000, 0x2fff, 0x2000}, {1 << 41, 1<<41 + 0xfff, 0x1000}, {0x8004, 0x800f, 12},
		},
		Notes: []Note{{Name: "ABC", Type: 1, Desc: []byte("{}x")}, {Name: "", Type: 7, Desc: []byte{}}},
	}
}

func sampleCore(t testing.TB) []byte {
	m, c := sample()
	var b bytes.Buffer
	require.NoError(t, WriteCore(&b, m, c))
	return b.Bytes()
}

func compress(t testing.TB, b []byte) []byte {
	z, err := zstd.NewWriter(nil)
	require.NoError(t, err)
	return z.EncodeAll(b, nil)
}

func TestCoreRoundTrip(t *testing.T) {
	plain := sampleCore(t)
	want, wantCore := sample()
	for name, b := range map[string][]byte{"plain": plain, "zstd": compress(t, plain)} {
		t.Run(name, func(t *testing.T) {
			m, c, err := ReadCore(bytes.NewReader(b), "x")
			require.NoError(t, err)
			require.True(t, m.Equal(want))
			require.Equal(t, wantCore, c)
			require.True(t, c.Covers(0x2fff))
			require.False(t, c.Covers(0x3000))
			require.Equal(t, []byte("{}x"), c.Note("ABC", 1).Desc)
			require.Nil(t, c.Note("ABC", 2))
		})
	}
}

func TestCoreIsReadableByOthers(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(sampleCore(t)))
	require.NoError(t, err)
	require.Equal(t, elf.ET_CORE, f.Type)
	require.Len(t, f.Progs, 4)
	require.Equal(t, elf.PT_NOTE, f.Progs[0].Type)
	require.EqualValues(t, 0x1000, f.Progs[1].Paddr)
	var b [8]byte
	_, err = f.Progs[1].ReadAt(b[:], 0)
	require.NoError(t, err)
	require.EqualValues(t, 0x1122334455667788, binary.LittleEndian.Uint64(b[:]))
}

func TestCoreWithoutSegmentsTakesAllocatedPages(t *testing.T) {
	m, _ := sample()
	var b bytes.Buffer
	require.NoError(t, WriteCore(&b, m, &Core{Machine: elf.EM_PPC64}))
	got, c, err := ReadCore(&b, "x")
	require.NoError(t, err)
	require.True(t, m.Equal(got))
	require.Equal(t, []Segment{
		{0x1000, 0x2fff, 0x2000}, {0x8000, 0x8fff, 0x1000}, {1 << 41, 1<<41 + 0xfff, 0x1000},
	}, c.Segments)
	require.Equal(t, elf.EM_PPC64, c.Machine)
}

func TestCoreWithManySegments(t *testing.T) {
	m := mem.New()
	c := &Core{Machine: elf.EM_S390}
	for i := range emu.PA(70_000) {
		c.Segments = append(c.Segments, Segment{i * 16, i*16 + 7, 8})
		m.Store64(i*16, uint64(i))
	}
	var b bytes.Buffer
	require.NoError(t, WriteCore(&b, m, c))
	got, gotCore, err := ReadCore(bytes.NewReader(b.Bytes()), "x")
	require.NoError(t, err)
	require.True(t, m.Equal(got))
	require.Equal(t, c.Segments, gotCore.Segments)
}

func TestBadCoresNameThePlace(t *testing.T) {
	good := sampleCore(t)
	le := binary.LittleEndian
	const load = headerSize + programSize // the first PT_LOAD
	edit := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"empty", nil, "x: offset 0x0: ELF header: the file has 0 bytes, want at least 64"},
		{"text", []byte(strings.Repeat("hello ", 20)), "x: offset 0x0: e_ident: magic 68 65 6c 6c, want 7f 45 4c 46 (ELF) or 28 b5 2f fd (zstd)"},
		{"32-bit", edit(func(b []byte) { b[4] = 1 }), "x: offset 0x4: EI_CLASS: 1, want 2 (64-bit)"},
		{"big-endian", edit(func(b []byte) { b[5] = 2 }), "x: offset 0x5: EI_DATA: 2, want 1 (little-endian)"},
		{"executable", edit(func(b []byte) { b[16] = 2 }), "x: offset 0x10: e_type: 2, want 4 (core)"},
		{"entry size", edit(func(b []byte) { b[54] = 32 }), "x: offset 0x36: e_phentsize: 32, want 56 (ELF64 program header)"},
		{"no headers", edit(func(b []byte) { b[56] = 0 }), "x: offset 0x38: e_phnum: 0, want at least 1 program header"},
		{"headers beyond", edit(func(b []byte) { b[57] = 0x80 }), "x: offset 0x20: e_phoff: 32772 program headers at 0x40, want them inside the file of 0x400c bytes"},
		{"no section 0", edit(func(b []byte) { b[56], b[57] = 0xff, 0xff }), "x: offset 0x28: e_shoff: 0x0, want section 0 inside the file of 0x400c bytes"},
		{"cut", good[:len(good)-1], "x: offset 0xf0: p_offset, p_filesz: 0x4000 and 0xc, want a range inside the file of 0x400b bytes"},
		{"offset wraps", edit(func(b []byte) { le.PutUint64(b[load+8:], ^uint64(0)) }), "x: offset 0x80: p_offset, p_filesz: 0xffffffffffffffff and 0x2000, want a range inside the file of 0x400c bytes"},
		{"memsz", edit(func(b []byte) { le.PutUint64(b[load+40:], 8) }), "x: offset 0xa0: p_memsz: 0x8, want at least p_filesz 0x2000"},
		{"paddr", edit(func(b []byte) { le.PutUint64(b[load+24:], 1<<52-8) }), "x: offset 0x90: p_paddr, p_memsz: 0xffffffffffff8 and 0x2000, want a range below 0x10000000000000"},
		{"overlap", edit(func(b []byte) { le.PutUint64(b[load+24:], 0x8000) }), "x: offset 0x40: p_paddr: segments 0x8000-0x9fff and 0x8004-0x800f overlap, want disjoint ones"},
		{"shared", edit(func(b []byte) {
			copy(b[load+programSize:], b[load:load+programSize])
			le.PutUint64(b[load+programSize+24:], 0x10000)
			copy(b[load+2*programSize:], b[load:load+programSize])
			le.PutUint64(b[load+2*programSize+24:], 0x20000)
		}), "x: offset 0x108: p_filesz: segments of 0x6000 bytes so far, want no more than the file's 0x400c"},
		{"note", edit(func(b []byte) { b[headerSize+4*programSize] = 0xff }), "x: offset 0x120: n_namesz, n_descsz: 255 and 3, want a note inside the segment's last 36 bytes"},
		{"zstd", compress(t, good)[:100], "x: offset 0x0: zstd: unexpected EOF"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ReadCore(bytes.NewReader(c.b), "x")
			require.EqualError(t, err, c.want)
			require.ErrorIs(t, err, ErrFormat)
			_, ok := errors.AsType[*Error](err)
			require.True(t, ok)
		})
	}
}

func TestZstdBombIsRefused(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	require.NoError(t, err)
	chunk := make([]byte, 1<<20)
	for range 256 {
		_, err := z.Write(chunk)
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	require.Less(t, b.Len(), 64<<10)
	_, _, err = ReadCore(&b, "x")
	require.ErrorContains(t, err, "decode to more than")
}

func TestWriteCoreReportsWhatCannotBeRead(t *testing.T) {
	m, c := sample()
	m.AddBusError(0x1000, 0x1007, emu.Read)
	require.Error(t, WriteCore(&bytes.Buffer{}, m, c))
	c.Segments[0].Last = 1 << 60
	require.Error(t, WriteCore(&bytes.Buffer{}, m, c))
	require.ErrorIs(t, WriteCore(failing{}, mem.New(), &Core{}), os.ErrClosed)
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, os.ErrClosed }

func FuzzReadCore(f *testing.F) {
	f.Add(sampleCore(f))
	f.Add(compress(f, sampleCore(f)))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, c, err := ReadCore(bytes.NewReader(b), "x")
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		limit := len(b)
		if bytes.HasPrefix(b, zstdMagic) {
			limit = decodedBase + decodedRatio*len(b)
		}
		require.LessOrEqual(t, m.Allocated()*emu.PageSize, limit+2*emu.PageSize*len(c.Segments))
		for _, s := range c.Segments {
			if s.Last-s.First >= 1<<24 {
				return // a large hole: valid, but too long to write out here
			}
		}
		var out bytes.Buffer
		require.NoError(t, WriteCore(&out, m, c))
		if len(c.Segments) == 0 && len(c.Notes) == 0 {
			return // nothing to write
		}
		again, _, err := ReadCore(&out, "y")
		require.NoError(t, err)
		require.True(t, m.Equal(again))
	})
}
