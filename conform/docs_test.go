package conform_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/conform"
)

const doc = "../docs/conform.md"

// iommus are the units that there are targets for.
func iommus() []string {
	var names []string
	for _, t := range conform.Targets("") {
		if !slices.Contains(names, t.IOMMU) {
			names = append(names, t.IOMMU)
		}
	}
	return names
}

// The tables of docs/conform.md are those of the code. IOMMULAB_UPDATE=1 writes them.
func TestDocs_TablesAreThoseOfTheCode(t *testing.T) {
	b, err := os.ReadFile(doc)
	require.NoError(t, err)
	text := string(b)
	for _, iommu := range iommus() {
		for name, table := range map[string]string{"deviations": deviations(iommu), "unseen": unseen(iommu), "unsuitable": unsuitable(iommu)} {
			name += " " + iommu
			before, rest, ok := strings.Cut(text, "<!-- "+name+" -->\n")
			require.True(t, ok, name)
			have, after, ok := strings.Cut(rest, "<!-- end -->")
			require.True(t, ok, name)
			if os.Getenv("IOMMULAB_UPDATE") != "" {
				text = before + "<!-- " + name + " -->\n" + table + "<!-- end -->" + after
				continue
			}
			require.Equal(t, table, have, "%s: IOMMULAB_UPDATE=1 go test ./conform -run Docs writes it", name)
		}
	}
	if text != string(b) {
		require.NoError(t, os.WriteFile(doc, []byte(text), 0o644))
	}
}

// modes names the modes of the targets of a unit that have something, or all.
func modes(iommu string, has func(t *conform.Target) bool) string {
	var names []string
	for _, t := range conform.Targets(iommu) {
		if has(t) {
			names = append(names, strings.NewReplacer("scalable-second-stage", "second", "scalable-first-stage", "first").Replace(t.Mode))
		}
	}
	if len(names) == len(conform.Targets(iommu)) {
		return "all"
	}
	return strings.Join(names, ", ")
}

// all lists the deviations of all modes of a unit, once each, in the order of the table.
func all(iommu string) []*conform.Deviation {
	var list []*conform.Deviation
	seen := make(map[string]bool)
	for pass := range 2 {
		for _, t := range conform.Targets(iommu) {
			for _, d := range t.Deviations() {
				if (d.Unseen == "") == (pass == 0) && !seen[d.ID] {
					seen[d.ID] = true
					list = append(list, d)
				}
			}
		}
	}
	return list
}

func with(id string) func(t *conform.Target) bool {
	return func(t *conform.Target) bool {
		for _, d := range t.Deviations() {
			if d.ID == id {
				return true
			}
		}
		return false
	}
}

func deviations(iommu string) string {
	var b strings.Builder
	b.WriteString("| id | what QEMU does | clause | right | modes | then |\n|---|---|---|---|---|---|\n")
	for _, d := range all(iommu) {
		if d.Unseen == "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", d.ID, d.What, d.Clause, d.Right, modes(iommu, with(d.ID)), d.After)
		}
	}
	return b.String()
}

func unseen(iommu string) string {
	var b strings.Builder
	b.WriteString("| id | what QEMU does | clause | right | why it does not show |\n|---|---|---|---|---|\n")
	for _, d := range all(iommu) {
		if d.Unseen != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", d.ID, d.What, d.Clause, d.Right, d.Unseen)
		}
	}
	return b.String()
}

func unsuitable(iommu string) string {
	var b strings.Builder
	b.WriteString("| what | why |\n|---|---|\n")
	seen := make(map[string]bool)
	for _, t := range conform.Targets(iommu) {
		for _, u := range t.Unsuitable() {
			if !seen[u.What] {
				seen[u.What] = true
				fmt.Fprintf(&b, "| %s | %s |\n", u.What, u.Why)
			}
		}
	}
	return b.String()
}

// Every deviation that programs can show has a program of its own in each mode, and every entry says all
// that a reader needs.
func TestDeviations_AreComplete(t *testing.T) {
	for _, target := range conform.Targets("") {
		shown := make(map[string]bool)
		programs, err := conform.Directed(target)
		require.NoError(t, err)
		for _, p := range programs {
			require.NotEmpty(t, p.Shows, p.File)
			require.NotEmpty(t, p.About, p.File)
			for _, id := range p.Shows {
				shown[id] = true
			}
		}
		for _, d := range target.Deviations() {
			require.NotEmpty(t, d.What, d.ID)
			require.NotEmpty(t, d.Clause, d.ID)
			require.Contains(t, []conform.Right{conform.Ours, conform.Theirs, conform.Either, conform.Unclear}, d.Right, d.ID)
			_, can := target.Deviation(d.ID)
			require.Equal(t, can, d.Unseen == "", "%s: shown by programs, or a reason why not", d.ID)
			if can {
				require.True(t, shown[d.ID], "%s in mode %s has no program in testdata", d.ID, target.Mode)
			}
		}
	}
}
