package emutest

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Seen holds the tests of a package to all codes of a kind: each must have been seen by the end, or be
// excused.
type Seen struct {
	what    string
	codes   []uint64
	excused map[uint64]string
	seen    sync.Map
}

// Codes returns a Seen for codes of what: a name in the singular. excused are those that no test sees,
// and why.
func Codes[C ~uint8 | ~uint16 | ~uint64](what string, codes []C, excused map[C]string) *Seen {
	s := &Seen{what: what, excused: map[uint64]string{}}
	for _, c := range codes {
		s.codes = append(s.codes, uint64(c))
	}
	slices.Sort(s.codes)
	for c, why := range excused {
		s.excused[uint64(c)] = why
	}
	return s
}

// Saw notes that a test has expected a code and got it.
func (s *Seen) Saw(code uint64) { s.seen.Store(code, true) }

// report writes what is missing and returns the exit code.
func (s *Seen) report(w io.Writer) (code int) {
	for _, c := range s.codes {
		_, seen := s.seen.Load(c)
		_, excused := s.excused[c]
		switch {
		case !seen && !excused:
			fmt.Fprintf(w, "FAIL: no test expects %s %#x\n", s.what, c)
			code = 1
		case seen && excused:
			fmt.Fprintf(w, "FAIL: %s %#x is seen and also excused\n", s.what, c)
			code = 1
		}
	}
	return code
}

// Main runs the tests of a package and then, if all were run, asks whether everything was seen. It is
// the body of a TestMain.
func Main(m *testing.M, all ...*Seen) {
	flag.Parse()
	code := m.Run()
	some := false
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			some = true
		}
	}
	for _, s := range all {
		if code == 0 && !some {
			code = s.report(os.Stderr)
		}
	}
	os.Exit(code)
}

// RequirePoints requires that each of the points 1 to n, which implementers get wrong easily, has a
// test Test<Name>NN_... in one of dirs, or a line in the table "open | because" of doc.
func RequirePoints(t *testing.T, doc, name string, n int, dirs ...string) {
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	_, open, _ := strings.Cut(string(text), "\n| open | because |\n") // none if nothing is open
	open, _, _ = strings.Cut(open, "\n\n")

	has := map[string]bool{}
	test := regexp.MustCompile(`(?m)^func Test` + name + `(\d\d)_\w+\(t \*testing\.T\)`)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		require.NoError(t, err)
		for _, f := range files {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			for _, m := range test.FindAllSubmatch(text, -1) {
				has[string(m[1])] = true
			}
		}
	}
	for i := 1; i <= n; i++ {
		at := fmt.Sprintf("%02d", i)
		said := regexp.MustCompile(`(?m)^\|[^|]*\b` + at + `\b[^|]*\|`).MatchString(open)
		require.True(t, has[at] || said, "point %s has neither a test nor a reason", at)
		delete(has, at)
	}
	require.Empty(t, has, "tests of points that are none")
}
