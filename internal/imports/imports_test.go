// Package imports has no code: its test enforces the import directions of the project.
package imports

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/iommulab/iommulab/"

// forbidden lists, for each group of packages, what must not be among their dependencies. Paths
// are relative to the module; a trailing slash means everything below.
var forbidden = []struct {
	from []string
	not  []string
	why  string
}{
	{
		[]string{"emu", "emu/", "iotlb", "iotlb/", "pasid", "pagetable"},
		[]string{"host", "host/", "replay", "hitless", "conform", "tools/", "internal/cli"},
		"hardware and formats know nothing of the host",
	},
	{
		[]string{"emu/vtd", "emu/amdvi", "emu/smmuv3"},
		[]string{"pagetable"},
		"units decode paging entries themselves: a mistake in one is not in the other",
	},
	{[]string{"emu/vtd", "emu/vtd/"}, []string{"emu/amdvi", "emu/amdvi/", "emu/smmuv3", "emu/smmuv3/"}, "units do not know one another"},
	{[]string{"emu/amdvi", "emu/amdvi/"}, []string{"emu/vtd", "emu/vtd/", "emu/smmuv3", "emu/smmuv3/"}, "units do not know one another"},
	{[]string{"emu/smmuv3", "emu/smmuv3/"}, []string{"emu/vtd", "emu/vtd/", "emu/amdvi", "emu/amdvi/"}, "units do not know one another"},
	{
		[]string{"host", "host/"},
		[]string{"emu/vtd", "emu/amdvi", "emu/smmuv3", "emu/timing", "emu/device", "emu/mem", "hitless", "replay", "conform", "tools/"},
		"host code reaches hardware through registers and memory only",
	},
	{[]string{"host/driver/vtd"}, []string{"host/driver/amdvi", "host/driver/smmuv3"}, "drivers do not know one another"},
	{[]string{"host/driver/amdvi"}, []string{"host/driver/vtd", "host/driver/smmuv3"}, "drivers do not know one another"},
	{[]string{"host/driver/smmuv3"}, []string{"host/driver/vtd", "host/driver/amdvi"}, "drivers do not know one another"},
	{[]string{"emu", "emu/clock", "emu/mem", "emu/reg", "emu/timing", "emu/device", "iotlb", "pasid", "pagetable"},
		[]string{"emu/vtd", "emu/vtd/", "emu/amdvi", "emu/amdvi/", "emu/smmuv3", "emu/smmuv3/"}, "what all units share knows none of them"},
}

func in(list []string, pkg string) bool {
	for _, p := range list {
		if pkg == p || strings.HasSuffix(p, "/") && strings.HasPrefix(pkg, p) {
			return true
		}
	}
	return false
}

func TestImportDirections(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .Deps}} {{.}}{{end}}`, module+"...").CombinedOutput()
	require.NoError(t, err, "%s", out)
	checked := 0
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		from := strings.TrimPrefix(f[0], module)
		for _, dep := range f[1:] {
			to, ours := strings.CutPrefix(dep, module)
			if !ours && !strings.HasPrefix(dep, "gonum.org/v1/plot") {
				continue
			}
			checked++
			if !ours {
				require.Contains(t, []string{"report/plot", "tools/iommulab", "internal/cli"}, from, "only report/plot imports a plotting library")
				continue
			}
			require.False(t, to == "emu/emutest" || to == "iotlb/iotlbtest", "%s imports %s: only tests do", from, to)
			require.False(t, strings.HasPrefix(to, "tools/"), "%s imports %s: nothing imports tools", from, to)
			for _, r := range forbidden {
				if in(r.from, from) && in(r.not, to) {
					t.Errorf("%s depends on %s: %s", from, to, r.why)
				}
			}
		}
	}
	require.Greater(t, checked, 20, "the list of packages was read")
}

// Nor do the tests of a unit, and of what all units share, know another unit.
func TestImportDirectionsOfTests(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}}{{range .TestImports}} {{.}}{{end}}{{range .XTestImports}} {{.}}{{end}}`,
		module+"emu/...", module+"iotlb/...", module+"pasid/...").CombinedOutput()
	require.NoError(t, err, "%s", out)
	units := []string{"emu/vtd", "emu/amdvi", "emu/smmuv3"}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		from := strings.TrimPrefix(f[0], module)
		for _, dep := range f[1:] {
			to := strings.TrimPrefix(dep, module)
			for _, u := range units {
				if (to == u || strings.HasPrefix(to, u+"/")) && from != u && !strings.HasPrefix(from, u+"/") {
					t.Errorf("tests of %s import %s: units do not know one another", from, to)
				}
			}
		}
	}
}
