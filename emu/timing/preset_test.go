package timing

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPresets_LoadAndInherit(t *testing.T) {
	for _, name := range PresetNames() {
		p, err := LoadPreset(name)
		require.NoError(t, err, name)
		require.NotZero(t, p.Mem, name)
	}
	d, err := LoadPreset("default")
	require.NoError(t, err)
	n, err := LoadPreset("nocache")
	require.NoError(t, err)
	require.Equal(t, d.Params, n.Params, "nocache changes caches only")
	require.Zero(t, n.Caches.Entry.Sets)
	require.Empty(t, n.Caches.Walk)
	require.Equal(t, d.Caches.IOTLB, n.Caches.IOTLB)
}

// Every parameter of the built-in presets says its unit and where it comes from.
func TestPresets_EveryParameterHasUnitAndSource(t *testing.T) {
	files, err := filepath.Glob("presets/*.toml")
	require.NoError(t, err)
	for _, file := range files {
		f, err := os.Open(file)
		require.NoError(t, err)
		for s := bufio.NewScanner(f); s.Scan(); {
			line := s.Text()
			if key, rest, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, " ") && !strings.ContainsAny(rest, "{[") && key != "base" {
				_, comment, found := strings.Cut(rest, "#")
				require.True(t, found && len(strings.Fields(comment)) >= 2, "%s: %s", file, line)
			}
		}
		require.NoError(t, f.Close())
	}
}

func TestLoadPreset_ErrorsNamePlaceAndField(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"mem_cycles = 1\nmemory = 3\n", ":2:1: memory: no such parameter"},
		{"mem_cycles = \"x\"\n", ":1:"},
		{"mem_cycles = = 4\n", ":1:"},
		{"walkers = 0\n", "walkers = 0: want 1 to 4096"},
		{"link_cycles = 9999999999999\n", "link_cycles"},
		{"[caches]\niotlb = { sets = 3, ways = 1 }\n", "caches"},
		{"base = \"nothing\"\n", "not built in"},
		{"[host]\nstore_order = \"none\"\n", `:2:15: host.store_order: toml: store order "none": want one of total, weak`},
		{"[units.u]\nmemory = 3\n", ":2:1: units.u.memory: no such parameter"},
		{"[units.u]\nwalkers = 0\n", "units.u: walkers = 0: want 1 to 4096"},
		{"[units.u.caches]\niotlb = { sets = 3, ways = 1 }\n", "units.u: caches"},
	} {
		file := filepath.Join(t.TempDir(), "p.toml")
		require.NoError(t, os.WriteFile(file, []byte(c.text), 0o600))
		_, err := LoadPreset(file)
		require.ErrorIs(t, err, ErrPreset)
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n")
	}
	_, err := LoadPreset("does-not-exist")
	require.ErrorIs(t, err, ErrPreset)
	loop := filepath.Join(t.TempDir(), "loop.toml")
	require.NoError(t, os.WriteFile(loop, []byte("base = '"+loop+"'\n"), 0o600))
	_, err = LoadPreset(loop)
	require.ErrorIs(t, err, ErrPreset)
}

// What a file says for all units comes after what its base says for one, and before what it says for
// that one itself.
func TestPreset_SectionsOfUnits(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name+".toml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	base := write("base", `
walkers = 3
[caches]
entry = { sets = 2, ways = 2, policy = "lru" }
walk = [ { sets = 2, ways = 1, policy = "lru" }, { sets = 1, ways = 1, policy = "lru" } ]
[units.one]
walkers = 5
mem_cycles = 7
[units.one.host]
store_order = "weak"
[units.one.caches]
walk = [ { sets = 4, ways = 4, policy = "lru" } ]
`)
	top := write("top", `
base = '`+base+`'
mem_cycles = 9
[caches]
entry = { sets = 0, ways = 0 }
[units.one]
fill_cycles = 11
[units.two]
walkers = 13
`)
	p, err := LoadPreset(base)
	require.NoError(t, err)
	require.Contains(t, p.Sections(), "one")
	require.NotContains(t, p.Sections(), "two")
	one := p.For("one")
	require.Equal(t, base, one.Name)
	require.Equal(t, []uint64{5, 7}, []uint64{uint64(one.Walkers), one.Mem})
	require.Equal(t, WeakOrder, one.Host.Order)
	require.Len(t, one.Caches.Walk, 1)
	require.Equal(t, p.Caches.Entry, one.Caches.Entry)
	require.Equal(t, p.Section, p.For("two").Section, "no section: what holds for all")
	require.Len(t, p.Caches.Walk, 2, "sections do not leak")

	p, err = LoadPreset(top)
	require.NoError(t, err)
	one = p.For("one")
	require.Equal(t, []uint64{5, 9, 11}, []uint64{uint64(one.Walkers), one.Mem, one.Fill})
	require.Zero(t, one.Caches.Entry.Sets)
	require.Len(t, one.Caches.Walk, 1)
	require.Equal(t, WeakOrder, one.Host.Order)
	require.Equal(t, 13, p.For("two").Walkers)
	require.Equal(t, 3, p.Walkers)
	require.Len(t, p.For("two").Caches.Walk, 2)

	m, err := p.Resolved()
	require.NoError(t, err)
	require.EqualValues(t, 5, m["units"].(map[string]any)["one"].(map[string]any)["walkers"])
}
