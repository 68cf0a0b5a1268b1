package imports

import (
	"go/scanner"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// shared are the packages that all units, or all drivers, stand on, and their tests: these name no architecture.
// What a package with parts has of single architectures lies in files that are called so; its tests run all of them.
var shared = []struct {
	dir   string
	parts bool
}{
	{dir: "emu"}, {dir: "emu/caches"}, {dir: "emu/clock"}, {dir: "emu/device"}, {dir: "emu/emutest"}, {dir: "emu/mem"},
	{dir: "emu/mem/snapshot"}, {dir: "emu/reg"}, {dir: "emu/timing"},
	{dir: "host"}, {dir: "host/driver", parts: true}, {dir: "host/entry", parts: true}, {dir: "host/guest", parts: true},
	{dir: "internal/drivertest"}, {dir: "iotlb"}, {dir: "iotlb/iotlbtest"}, {dir: "pagetable", parts: true}, {dir: "pasid"},
}

// alike are the packages of which there is one for each architecture.
var alike = [][]string{
	{"emu/vtd", "emu/amdvi", "emu/smmuv3"},
	{"host/driver/vtd", "host/driver/amdvi", "host/driver/smmuv3"},
}

// parts are the names of files, and of packages, of single architectures.
var parts = regexp.MustCompile(`vtd|amdv|smmuv3|lpae|x86|\barm`)

// names are those of vendors and architectures, and of entries, ids and formats that only one of them has. In text they
// are words; in identifiers they are what lies between changes of case.
var names = regexp.MustCompile(`(?i)^(intel|vt-?d|dmar|amd|amd-?vi|ivrs|arm|arm64|aarch64|smmus?(v\d)?|x86(-64)?|dtes?|gcr3|stes?|l1std|cmdq|eventq|` +
	`asids?|vmids?|(sub)?streamids?|lpae|vmsav?8?|risc-?v)$`)

// verbs are words that only look like names.
var verbs = map[string]bool{"arm": true}

func isName(word string) bool { return names.MatchString(word) && !verbs[word] }

// words splits an identifier: "newVTDUnit" is new, VTD, Unit.
func words(ident string) []string {
	var list []string
	r := []rune(ident)
	start := 0
	for i := 1; i <= len(r); i++ {
		last := i == len(r)
		if last || r[i] == '_' || unicode.IsUpper(r[i]) && (!unicode.IsUpper(r[i-1]) || i+1 < len(r) && unicode.IsLower(r[i+1])) {
			list = append(list, strings.Trim(string(r[start:i]), "_"))
			start = i
		}
	}
	return list
}

// vendorWords returns the names in a Go file, by line.
func vendorWords(fset *token.FileSet, name string, src []byte) (found []string) {
	var s scanner.Scanner
	f := fset.AddFile(name, fset.Base(), len(src))
	s.Init(f, src, nil, scanner.ScanComments)
	text := regexp.MustCompile(`[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*`)
	for {
		pos, tok, lit := s.Scan()
		var list []string
		switch tok {
		case token.EOF:
			return found
		case token.IDENT:
			list = words(lit)
		case token.COMMENT, token.STRING:
			list = text.FindAllString(lit, -1)
		}
		for _, w := range list {
			if isName(w) {
				found = append(found, fset.Position(pos).String()+": "+w)
			}
		}
	}
}

func TestSharedPackagesNameNoArchitecture(t *testing.T) {
	fset := token.NewFileSet()
	for _, pkg := range shared {
		files, err := filepath.Glob(filepath.Join("../..", pkg.dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, pkg.dir)
		for _, name := range files {
			if base := filepath.Base(name); pkg.parts && (strings.HasSuffix(base, "_test.go") || parts.MatchString(base)) {
				continue
			}
			src, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Empty(t, vendorWords(fset, name, src))
		}
	}
}

// The list of what is shared is what the packages of all three architectures depend on, with their tests, and what
// those need for their own tests.
func TestSharedPackagesAreAllThatIsShared(t *testing.T) {
	needs, common := allNeeds(t), map[string]bool{}
	for _, group := range alike {
		n := map[string]int{}
		for _, pkg := range group {
			require.NotEmpty(t, needs[pkg], pkg)
			for dep := range needs[pkg] {
				n[dep]++
			}
		}
		for dep, k := range n {
			if k == len(group) && !parts.MatchString(dep) {
				common[dep] = true
			}
		}
	}
	require.NotEmpty(t, common)
	all := map[string]bool{}
	for pkg := range common {
		for dep := range needs[pkg] {
			all[dep] = !parts.MatchString(dep)
		}
	}
	maps.DeleteFunc(all, func(_ string, neutral bool) bool { return !neutral })
	got := slices.Sorted(maps.Keys(all))
	var want []string
	for _, pkg := range shared {
		want = append(want, pkg.dir)
	}
	require.Equal(t, want, got)
}

// allNeeds returns, for each package of the module, those of the module that it and its tests depend on, and itself.
func allNeeds(t *testing.T) map[string]map[string]bool {
	out, err := exec.Command("go", "list", "-test", "-f", "{{.ImportPath}}{{range .Deps}}\t{{.}}{{end}}", module+"...").CombinedOutput()
	require.NoError(t, err, "%s", out)
	plain := func(path string) (string, bool) { // a variant for a test is "path [of the test]", its main is path.test
		path, ours := strings.CutPrefix(strings.Fields(path)[0], module)
		return strings.TrimSuffix(strings.TrimSuffix(path, ".test"), "_test"), ours
	}
	list := map[string]map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		pkg, _ := plain(f[0])
		if list[pkg] == nil {
			list[pkg] = map[string]bool{}
		}
		for _, dep := range f {
			if to, ours := plain(dep); ours {
				list[pkg][to] = true
			}
		}
	}
	return list
}

// The test above can fail.
func TestNamesAreFoundInWordsAndIdentifiers(t *testing.T) {
	src := "package p\n\n// As Intel says, on an SMMUv3; VT-d too. Arm, who arms.\nvar newVTDUnit, armed, arm = \"amd-vi\", 1, dteAt + rest - setSTE*byASID/best\n"
	var got []string
	for _, f := range vendorWords(token.NewFileSet(), "x.go", []byte(src)) {
		got = append(got, f[strings.LastIndex(f, " ")+1:])
	}
	require.Equal(t, []string{"Intel", "SMMUv3", "VT-d", "Arm", "VTD", "amd-vi", "dte", "STE", "ASID"}, got)
}
