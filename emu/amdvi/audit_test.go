package amdvi_test

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

	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// raised are the faults that the tests of this package have expected and got, logged the codes of the
// events that they have read out of a log.
var raised, logged sync.Map

// neverLogged are the event codes that no test here reads, and why.
var neverLogged = map[uint64]string{
	spec.EventCounterZero:  "performance counters are not modelled",
	spec.EventGuestEvent:   "virtual IOMMUs are not modelled",
	spec.EventVIOMMUHW:     "virtual IOMMUs are not modelled",
	spec.EventRMPPageFault: "SNP is not modelled",
	spec.EventRMPHW:        "SNP is not modelled",
}

// TestMain runs the tests and then asks whether they raised every fault that the unit knows, and
// logged every event. It asks only after a run of all tests.
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
	codes := amdvi.FaultCodes()
	slices.Sort(codes)
	for _, c := range codes {
		if _, seen := raised.Load(c); !seen {
			fmt.Fprintf(w, "FAIL: no test expects fault %#x\n", c)
			code = 1
		}
	}
	for c := uint64(1); c <= spec.EventRMPHW; c++ {
		_, seen := logged.Load(c)
		if _, excused := neverLogged[c]; seen == excused {
			fmt.Fprintf(w, "FAIL: event %#x: read from a log %v, excused %v\n", c, seen, excused)
			code = 1
		}
	}
	return code
}

// Points that implementers get wrong are numbered 1 to quirks. Each has a test here or in spec, where
// the rule is one for hardware, or in a package of the host, where it is one for drivers, or a line in
// docs/amdvi.md that says why not.
const quirks = 52

func TestEveryQuirkHasATestOrAReason(t *testing.T) {
	doc, err := os.ReadFile("../../docs/amdvi.md")
	require.NoError(t, err)
	_, open, ok := strings.Cut(string(doc), "\n| open | because |\n")
	require.True(t, ok, "docs/amdvi.md has a table of open points")
	open, _, _ = strings.Cut(open, "\n\n")

	has := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func TestAMDQuirk(\d\d)_\w+\(t \*testing\.T\)`)
	for _, dir := range []string{".", "spec", "../../host/driver/amdvi", "../../host/entry"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
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
		require.Regexp(t, `^(0[1-9]|[1-4]\d|5[0-2])$`, n)
	}
}
