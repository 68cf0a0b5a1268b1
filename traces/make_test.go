package traces

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/internal/atomicfile"
)

// capturesEnv names the folder with the whole captures. TestMakeTestdata cuts testdata out of them; without
// it nothing is made and what is committed is used.
const capturesEnv = "IOMMULAB_CAPTURES"

// The part of vtd-legacy that the embedded trace is: of all windows with 25,000 to 31,000 accesses, on a
// grid of 50 ms, the one whose accesses are spread most evenly over the devices (highest entropy).
const (
	defaultFrom = 66_150_000_000 // ns after the first line of the log
	defaultTo   = 68_650_000_000
)

// excerpts are the parts of texts that importer tests read: the first lines, and lines around those that
// contain a word.
var excerpts = []struct {
	capture, file string
	head          int
	around        []string
	before, after int
}{
	{"vtd-legacy", "qemu-trace.log", 1200, []string{"SNAPSHOT"}, 2500, 1500},
	{"vtd-sm-ss", "qemu-trace.log", 600, []string{"vtd_frr_new", "SNAPSHOT"}, 1500, 1000},
	{"vtd-legacy", "ftrace.txt", allLines, nil, 0, 0}, // TestFtrace_AgreesWithTheTables needs all of them
	{"vtd-sm-ss", "ftrace.txt", allLines, nil, 0, 0},
	{"amdvi-v1", "qemu-trace.log", 1500, []string{"SNAPSHOT"}, 3500, 1500},
	{"amdvi-v1", "ftrace.txt", allLines, nil, 0, 0},
	{"smmuv3-s1", "qemu-trace.log", 1500, []string{"smmu_ptw_block_pte", "SNAPSHOT"}, 3500, 1500},
	{"smmuv3-s1", "ftrace.txt", allLines, nil, 0, 0},
	{"smmuv3-s2", "qemu-trace.log", 1500, []string{"SNAPSHOT"}, 3000, 1000},
	{"smmuv3-16k", "qemu-trace.log", 1500, []string{"SNAPSHOT"}, 3000, 1000},
}

const allLines = 1 << 30

// whole are files that are taken as they are; a name that ends in .csv is compressed.
var whole = []struct {
	capture string
	files   []string
}{
	{"vtd-legacy", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"vtd-sm-ss", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"amdvi-v1", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-s1", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-s2", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-16k", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-16k-s2", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-lazy", []string{"core.elf.zst", "regs.json", "oracle.csv", "mapped.csv"}},
	{"smmuv3-made", []string{"core.elf.zst", "regs.json", "oracle.csv"}},
}

// TestMakeTestdata cuts the committed files out of the captures and prints the table for the README.
func TestMakeTestdata(t *testing.T) {
	dir := os.Getenv(capturesEnv)
	if dir == "" {
		t.Skip("set " + capturesEnv + " to the folder with the captures to make testdata again")
	}
	for _, x := range excerpts {
		text := readZstd(t, filepath.Join(dir, x.capture, x.file+".zst"))
		writeZstd(t, filepath.Join("testdata", x.capture, x.file+".zst"), excerpt(text, x.head, x.around, x.before, x.after))
	}
	for _, w := range whole {
		for _, name := range w.files {
			b, err := os.ReadFile(filepath.Join(dir, w.capture, name))
			require.NoError(t, err)
			out := filepath.Join("testdata", w.capture, name)
			if strings.HasSuffix(name, ".csv") {
				writeZstd(t, out+".zst", b)
				continue
			}
			writeFile(t, out, b)
		}
	}
	log := readZstd(t, filepath.Join(dir, "vtd-legacy", "qemu-trace.log.zst"))
	writeFile(t, filepath.Join("testdata", DefaultName), makeDefault(t, log))
	for _, name := range testdataFiles(t) {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		fmt.Printf("| `%s` | %d | `%x` |\n", name, len(b), sha256.Sum256(b))
	}
}

// makeDefault returns the embedded trace, made from the whole QEMU log of vtd-legacy.
func makeDefault(t *testing.T, log []byte) []byte {
	all, _, err := ImportQEMU(bytes.NewReader(log), ImportOptions{})
	require.NoError(t, err)
	w := Window(all, defaultFrom, defaultTo)
	w.Header.Source = "QEMU 11.1.3 intel-iommu (legacy mode), Linux 7.2.12 guest under disk and network load"
	var b bytes.Buffer
	out, err := NewWriter(&b, &w.Header)
	require.NoError(t, err)
	require.NoError(t, out.Write(w.Events))
	require.NoError(t, out.Close())
	return b.Bytes()
}

// excerpt keeps the first lines, and the lines around the first occurrence of each word; a comment stands
// for what was cut.
func excerpt(text []byte, head int, words []string, before, after int) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	keep := make([]bool, len(lines))
	mark := func(from, to int) {
		for i := max(from, 0); i < min(to, len(lines)); i++ {
			keep[i] = true
		}
	}
	mark(0, head)
	for _, word := range words {
		i := slices.IndexFunc(lines, func(l []byte) bool { return bytes.Contains(l, []byte(word)) })
		if i >= 0 {
			mark(i-before, i+after)
		}
	}
	var out []byte
	cut := 0
	for i, l := range lines {
		if !keep[i] {
			cut++
			continue
		}
		if cut > 0 {
			out = fmt.Appendf(out, "# cut: %d lines\n", cut)
			cut = 0
		}
		out = append(out, l...)
	}
	return out
}

func readZstd(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	d, err := zstd.NewReader(f)
	require.NoError(t, err)
	defer d.Close()
	b, err := io.ReadAll(d)
	require.NoError(t, err)
	return b
}

func writeZstd(t *testing.T, path string, b []byte) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	require.NoError(t, err)
	writeFile(t, path, e.EncodeAll(b, nil))
}

func writeFile(t *testing.T, path string, b []byte) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}))
}

// testdataFiles lists the files that the README describes, sorted.
func testdataFiles(t *testing.T) []string {
	var names []string
	require.NoError(t, filepath.WalkDir("testdata", func(path string, d os.DirEntry, err error) error {
		rel := strings.TrimPrefix(filepath.ToSlash(path), "testdata/")
		if err == nil && !d.IsDir() && strings.Contains(rel, "/") != (rel == DefaultName) && !strings.HasPrefix(rel, "fuzz/") && !strings.HasPrefix(rel, "golden/") {
			names = append(names, rel)
		}
		return err
	}))
	return names
}
