package vtd_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu/vtd"
)

// raised are the fault reasons that the tests of this package have expected and got.
var raised sync.Map

// neverRaised are the reasons that no test here raises, and why.
var neverRaised = map[uint16]string{}

// TestMain runs the tests and then asks whether they raised every fault reason that the unit knows. It
// asks only after a run of all tests.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	all := true
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			all = false
		}
	}
	if code == 0 && all {
		code = unraised(os.Stderr)
	}
	os.Exit(code)
}

func unraised(w *os.File) (code int) {
	codes := vtd.FaultCodes()
	slices.Sort(codes)
	for _, c := range codes {
		_, seen := raised.Load(c)
		_, excused := neverRaised[c]
		switch {
		case !seen && !excused:
			fmt.Fprintf(w, "FAIL: no test expects fault %#x\n", c)
			code = 1
		case seen && excused:
			fmt.Fprintf(w, "FAIL: fault %#x is raised and also excused\n", c)
			code = 1
		}
	}
	return code
}

// Points that implementers get wrong are numbered 1 to quirks. Each has a test here, where the rule is
// one for hardware, or in a package of the host, where it is one for drivers, or a line in
// docs/vtd.md that says why not.
const quirks = 58

func TestEveryQuirkHasATestOrAReason(t *testing.T) {
	doc, err := os.ReadFile("../../docs/vtd.md")
	require.NoError(t, err)
	_, open, _ := strings.Cut(string(doc), "\n| open | because |\n") // none if nothing is open
	open, _, _ = strings.Cut(open, "\n\n")

	has := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func TestVTDQuirk(\d\d)_\w+\(t \*testing\.T\)`)
	for _, dir := range []string{".", "../../host/driver/vtd", "../../host/entry"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			for _, m := range name.FindAllSubmatch(text, -1) {
				has[string(m[1])] = true
			}
		}
	}
	for i := 1; i <= quirks; i++ {
		n := fmt.Sprintf("%02d", i)
		said := regexp.MustCompile(`(?m)^\|[^|]*\b` + n + `\b[^|]*\|`).MatchString(open)
		require.True(t, has[n] || said, "point %s has neither a test nor a reason", n)
	}
	for n := range has {
		require.Regexp(t, `^(0[1-9]|[1-4]\d|5[0-8])$`, n)
	}
}
