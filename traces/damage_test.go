package traces

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// small is a trace of two blocks in a few hundred bytes.
func small() *Trace {
	return &Trace{Header: Header{Version: Version, IOMMU: "vtd", Marks: []string{"x"}}, Events: everyKind()}
}

// readNative reads a whole file, both ways, and returns the events and the error of the stream.
func readNative(b []byte) (*Trace, error) {
	if x, err := OpenIndexed(bytes.NewReader(b), int64(len(b))); err == nil {
		for k := range x.Blocks() {
			if r, err := x.From(k); err == nil {
				_, _ = ReadAll(r)
			}
		}
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return ReadAll(r)
}

func TestReader_TruncationAtEveryByteIsAnErrorWithAnOffset(t *testing.T) {
	want := small()
	b := native(t, want)
	noIndex := 0
	for n := range b {
		got, err := readNative(b[:n])
		var place *Error
		require.ErrorAs(t, err, &place, "cut at %d", n)
		require.Equal(t, int64(n), place.Offset, "cut at %d", n)
		if errors.Is(err, ErrNoIndex) {
			require.Contains(t, []int{0, len(want.Events) - 1, len(want.Events)}, len(got.Events))
			noIndex++
		} else {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	require.Equal(t, 3, noIndex, "cut before, between and behind the two blocks")
	_, err := OpenIndexed(bytes.NewReader(b[:len(b)-1]), int64(len(b)-1))
	require.ErrorIs(t, err, ErrNoIndex)
}

func TestReader_EveryFlippedBitIsAnError(t *testing.T) {
	b := native(t, small())
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			_, err := readNative(c)
			var place *Error
			require.ErrorAs(t, err, &place, "byte %d bit %d", i, bit)
			require.NotContains(t, place.Error(), "\n")
		}
	}
	_, err := readNative(append(b, 0))
	require.ErrorContains(t, err, "nothing after the index")
}

func TestReader_ClaimsAreBoundedBeforeAnythingIsAllocated(t *testing.T) {
	b := native(t, small())
	head := bytes.Index(b, binary.LittleEndian.AppendUint32(nil, magicBlock))
	for _, c := range []struct {
		at   int
		v    uint32
		want string
	}{
		{4, 0xffff_ffff, "header length: want at most 1 MiB"},
		{4, headerFixed - 1, "header length"},
		{16, 2, "header version: want 1, got 2"},
		{head + 8, 0, "block records: want 1 to 65536, got 0"},
		{head + 8, 1 << 30, "block records"},
		{head + 12, 1 << 20, "block streams"},
		{head + 16, 1 << 31, "block size: want at most 2.5 MiB"},
	} {
		x := bytes.Clone(b)
		binary.LittleEndian.PutUint32(x[c.at:], c.v)
		binary.LittleEndian.PutUint32(x[head+skipSize+36:], crc(x[head+skipSize:head+skipSize+36]))
		_, err := readNative(x)
		require.ErrorContains(t, err, c.want)
	}
}

func TestCSV_ErrorsNameLineAndColumn(t *testing.T) {
	const head = csvColumns + "\n"
	for text, want := range map[string]string{
		"":                                             "line 1: columns: want " + csvColumns + ": unexpected EOF",
		"a,b\n":                                        `line 1: columns: want ` + csvColumns + `, got "a,b"`,
		head + "1,read,0x10,,0x0,,,r":                  "line 2: line: want a line end",
		head + "1,read,0x10,,0x0,,\n":                  "line 2: line: want 8 cells",
		head + "1,read,0x10,,0x0,,,r,\n":               "line 2: line: want 8 cells",
		head + ",read,0x10,,0x0,,,r\n":                 "line 2: time_ns: want a time in ns",
		head + "1,reed,0x10,,0x0,,,r\n":                `line 2: kind: want read, write`,
		head + "1,read,0x100000000,,0x0,,,r\n":         "line 2: sid: want a source ID of 32 bits",
		head + "1,read,0x10,0x100000,0x0,,,r\n":        "line 2: pasid: want a PASID of 20 bits",
		head + "1,read,0x10,,x,,,r\n":                  "line 2: iova: want an address",
		head + "1,read,0x10,,0x0,281474976710656,,r\n": "line 2: len: want a length of 48 bits",
		head + "1,read,0x10,,0x0,,-1,r\n":              "line 2: pa: want an address",
		head + "1,read,0x10,,0x0,,,rr\n":               "line 2: perm: want a set of r, w, x",
		head + "2,read,,,0x0,,,\n1,read,,,0x0,,,\n":    "line 3: time_ns: want not before",
		"# iotrace: 2\n" + head:                        "line 1: iotrace: want 1",
		"# seed: x\n" + head:                           "line 1: seed",
		"# source: \"x\n" + head:                       "line 1: source: want a quoted text",
	} {
		r, err := NewCSVReader(bytes.NewReader([]byte(text)))
		if err == nil {
			_, err = ReadAll(r)
		}
		require.ErrorContains(t, err, want)
	}
}

func TestCSV_AcceptsWhatPeopleWrite(t *testing.T) {
	text := "# source: by hand\r\n# anything else\n" + csvColumns + "\r\n10,write,16,,4096,64,,\r\n"
	r, err := NewCSVReader(bytes.NewReader([]byte(text)))
	require.NoError(t, err)
	got, err := ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "by hand", got.Header.Source)
	require.Equal(t, []string{"anything else"}, got.Header.Notes)
	require.Equal(t, "10,write,0x10,,0x1000,64,,\n", csvOf(got))
}

func TestParquet_DamageIsAnErrorNotAPanic(t *testing.T) {
	b := parquetOf(t, small())
	try := func(b []byte) {
		r, err := NewParquetReader(bytes.NewReader(b), int64(len(b)))
		if err == nil {
			_, err = ReadAll(r)
		}
		if err != nil {
			var place *Error
			require.ErrorAs(t, err, &place)
		}
	}
	for n := 0; n < len(b); n += 7 {
		try(b[:n])
	}
	for i := 0; i < len(b); i += 5 {
		c := bytes.Clone(b)
		c[i] ^= 0xff
		try(c)
	}
}

func TestOpen_LooksAtTheContent(t *testing.T) {
	dir := t.TempDir()
	want := small()
	for name, b := range map[string][]byte{"a": native(t, want), "b": textOf(t, want), "c": parquetOf(t, want)} {
		path := filepath.Join(dir, name)
		writeFile(t, path, b)
		f, err := Open(path)
		require.NoError(t, err, name)
		got, err := ReadAll(f)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.NoError(t, f.Close())
	}
	for name, b := range map[string]string{"empty": "", "elf": "\x7fELF and so on"} {
		path := filepath.Join(dir, name)
		writeFile(t, path, []byte(b))
		_, err := Open(path)
		require.ErrorContains(t, err, path+": offset 0x0: trace: want an .iotrace, CSV or Parquet file")
	}
	_, err := Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
