package timing

import (
	"bytes"
	"maps"
	"slices"

	"github.com/pelletier/go-toml/v2"
)

// Section is all that a preset says about a machine: what holds for whatever unit it has, or, under
// [units.NAME], what it is like with the unit of that name.
//
// Each file of a chain of bases comes after its base as a whole: its lines for all units override those
// that its base has for one, and its own lines for that one come last.
type Section struct {
	// Config names a configuration of the unit: what it has. Empty is what whoever builds it takes otherwise.
	Config string `toml:"config"`
	Params `toml:",inline"`
	Caches Caches `toml:"caches"`
}

// For returns the preset of a machine with the unit called name: the same for all that have no section.
func (p *Preset) For(name string) *Preset {
	own := *p
	own.Units = nil
	if s := p.Units[name]; s != nil {
		own.Section = *s
	}
	return &own
}

// Sections returns the names of units that the preset or one of its bases has a section for, in
// alphabetical order.
func (p *Preset) Sections() []string { return slices.Sorted(maps.Keys(p.Units)) }

// file is the text of a preset file with what it adds to.
type file struct {
	Base    string `toml:"base"`
	Section `toml:",inline"`
	Units   map[string]*Section `toml:"units"`
}

// apply puts what a file says over what its bases said.
func (p *Preset) apply(name string, text []byte) error {
	f := file{Base: p.Base, Section: p.Section}
	if err := f.decode(text); err != nil {
		return presetError(name, err)
	}
	units := map[string]*Section{}
	for unit := range f.Units {
		units[unit] = &p.Section
	}
	maps.Copy(units, p.Units)
	for unit, base := range units {
		all := file{Section: *base}
		if err := all.decode(text); err != nil {
			return presetError(name, err)
		}
		one := file{Units: map[string]*Section{unit: &all.Section}}
		if err := one.decode(text); err != nil {
			return presetError(name, err)
		}
		units[unit] = one.Units[unit]
	}
	p.Base, p.Section = f.Base, f.Section
	if len(units) > 0 {
		p.Units = units
	}
	return nil
}

// decode reads text over what f holds. Unknown names are errors.
func (f *file) decode(text []byte) error {
	keep := map[*Caches]Caches{&f.Caches: f.Caches}
	for _, s := range f.Units {
		keep[&s.Caches] = s.Caches
	}
	// A list replaces the base's list; it does not merge into it.
	for c := range keep {
		c.Walk, c.Walk2 = nil, nil
	}
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(f); err != nil {
		return err
	}
	for c, old := range keep {
		if c.Walk == nil {
			c.Walk = old.Walk
		}
		if c.Walk2 == nil {
			c.Walk2 = old.Walk2
		}
	}
	return nil
}
