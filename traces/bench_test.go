package traces

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkReader(b *testing.B) {
	for name, file := range map[string][]byte{"default": DefaultBytes(), "random": generated(b, 500_000)} {
		b.Run(name, func(b *testing.B) {
			buf := make([]Event, batch)
			n := 0
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(bytes.NewReader(file))
				require.NoError(b, err)
				for {
					k, err := r.Read(buf)
					n += k
					if errors.Is(err, io.EOF) {
						break
					}
					require.NoError(b, err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}

// BenchmarkDecode is the part of reading behind zstd.
func BenchmarkDecode(b *testing.B) {
	r, err := NewReader(bytes.NewReader(generated(b, blockRecords)))
	require.NoError(b, err)
	require.NoError(b, r.nextBlock())
	records, last := r.records, r.last
	buf := make([]Event, batch)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		for r.records, r.last = records, last; len(r.records) > 0; {
			n += r.decode(buf)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkWriter(b *testing.B) {
	t, err := readNative(generated(b, 500_000))
	require.NoError(b, err)
	for b.Loop() {
		w, err := NewWriter(&discard{}, &t.Header)
		require.NoError(b, err)
		require.NoError(b, w.Write(t.Events))
		require.NoError(b, w.Close())
	}
	b.ReportMetric(float64(len(t.Events)*b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkGenerate(b *testing.B) {
	buf := make([]Event, batch)
	spec := DefaultSpec(Zipf)
	spec.Accesses = 1 << 40
	g, err := Generate(spec)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := g.Read(buf)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(batch*b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
}

func BenchmarkImportQEMU(b *testing.B) {
	text := readZstd(b, filepath.Join("testdata", "vtd-legacy", "qemu-trace.log.zst"))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _, err := ImportQEMU(bytes.NewReader(text), ImportOptions{})
		require.NoError(b, err)
	}
}

func generated(b *testing.B, accesses uint64) []byte {
	spec := DefaultSpec(Random)
	spec.Accesses = accesses
	g, err := Generate(spec)
	require.NoError(b, err)
	t, err := ReadAll(g)
	require.NoError(b, err)
	return native(b, t)
}
