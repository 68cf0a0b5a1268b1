package lab

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// wrong are reductions that the explorer must not make: each is a change of a line of its source.
var wrong = []struct{ name, file, is, becomes string }{
	{"a load never falls while an invalidation of it waits", "explore.go", "return last(i)\n", "return last(max(i-2, int(w.at.done)))\n"},
	{"loads fall at once", "explore.go", "if !from.not(p) && !p.not(to) {", "if p == from {"},
	{"of different answers the first is followed", "explore.go", "if slices.ContainsFunc(tried[now], func(p point) bool { return !p.not(at) }) {", "if len(tried) > 0 {"},
	{"what is cached is found", "explore.go", "\tx.work.add(miss)\n", "\tif len(x.copies) == 0 {\n\t\tx.work.add(miss)\n\t}\n"},
	{"a look-up finds what is there already", "explore.go", "if c.cache != a.Cache || !c.serves", "if c.since.not(w.at) || c.cache != a.Cache || !c.serves"},
	{"a look-up finds nothing", "explore.go", "if c.cache != a.Cache || !c.serves", "if true || !c.serves"},
	{"copies are not looked for again", "explore.go", "for x.grown = true; x.grown; {\n", "for x.grown = true; x.grown && rounds == 0; {\n"},
	{"requests begin at the beginning", "explore.go", "for _, at := range x.points {\n", "for _, at := range x.points[:1] {\n"},
	{"no request begins when the program is over", "explore.go", "for _, at := range x.points {\n", "for _, at := range x.points[:max(1, len(x.points)-1)] {\n"},
	{"a copy is gone before the invalidation", "copies.go", "\t\t\tc.until = i\n", "\t\t\tc.until = max(i-1, int(since.done))\n"},
	{"every invalidation drops everything", "copies.go", "\tif !s.Caches.Has(c.cache) {\n\t\treturn false\n", "\tif s != nil {\n\t\treturn true\n"},
	{"a domain is dropped with any other", "copies.go", "s.Match&emu.MatchDomain != 0 && domain != s.Domain,", "domain == 0xffff_ffff,"},
	{"copies have one value", "copies.go", "o.val == c.val && ", ""},
	{"a copy is kept once, whatever it lasts", "copies.go", " && o.until == c.until {", " {"},
	{"before and after are one state", "states.go", "after: w.after, who", "who"},
}

// Mistakes in the explorer's reductions come to light in the comparison. Each means building the explorer anew: without
// IOMMULAB_LONG the first is made, and of the others only that they can be.
func TestSearch_FindsWrongReductions(t *testing.T) {
	for i, w := range wrong {
		t.Run(w.name, func(t *testing.T) {
			source, err := filepath.Abs(filepath.Join("..", w.file))
			require.NoError(t, err)
			text, err := os.ReadFile(source)
			require.NoError(t, err)
			require.Equal(t, 1, strings.Count(string(text), w.is), "%q in %s", w.is, w.file)
			if i > 0 && !long() {
				return
			}
			dir := t.TempDir()
			changed, overlay := filepath.Join(dir, w.file), filepath.Join(dir, "overlay.json")
			require.NoError(t, os.WriteFile(changed, []byte(strings.Replace(string(text), w.is, w.becomes, 1)), 0o600))
			list, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(overlay, list, 0o600))
			run := exec.Command("go", "test", "-overlay", overlay, "-run", "^TestSearch_Agrees", ".")
			run.Env = append(os.Environ(), "IOMMULAB_LONG=")
			out, err := run.CombinedOutput()
			var failed *exec.ExitError
			require.ErrorAs(t, err, &failed, "it is not noticed")
			require.Contains(t, string(out), "--- FAIL: TestSearch_Agrees", "%s", out)
			require.NotContains(t, string(out), "build failed")
		})
	}
}
