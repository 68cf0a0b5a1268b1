package imports

import (
	"go/scanner"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"
)

// shared are the packages that know of no architecture, tests included.
var shared = []string{
	"emu", "emu/timing", "emu/mem", "emu/reg", "emu/clock", "emu/device", "emu/caches", "emu/emutest", "iotlb", "iotlb/iotlbtest", "pasid",
}

// names are those of vendors and architectures, and of entries that only one of them has. In text they
// are words; in identifiers they are what lies between changes of case.
var names = regexp.MustCompile(`(?i)^(intel|vt-?d|dmar|amd|amd-?vi|ivrs|arm|smmu(v\d)?|x86|dte|ste|gcr3|risc-?v)$`)

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
	for _, dir := range shared {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, dir)
		for _, name := range files {
			src, err := os.ReadFile(name)
			require.NoError(t, err)
			require.Empty(t, vendorWords(fset, name, src))
		}
	}
}

// The test above can fail.
func TestNamesAreFoundInWordsAndIdentifiers(t *testing.T) {
	src := "package p\n\n// As Intel says, on an SMMUv3; VT-d too.\nvar newVTDUnit, armed, arm = \"amd-vi\", 1, dteAt\n"
	var got []string
	for _, f := range vendorWords(token.NewFileSet(), "x.go", []byte(src)) {
		got = append(got, f[strings.LastIndex(f, " ")+1:])
	}
	require.Equal(t, []string{"Intel", "SMMUv3", "VT-d", "VTD", "amd-vi", "dte"}, got)
}
