package emu

import (
	"fmt"
	"strings"
)

// PresetInfo names a configuration and says what it is.
type PresetInfo struct {
	Name string
	Doc  string // one line
}

// Preset is a named configuration of a unit, C.
type Preset[C any] struct {
	PresetInfo
	Config func() C
}

// Presets are named configurations, in the order in which a user reads them.
type Presets[C any] []Preset[C]

// Info lists them.
func (l Presets[C]) Info() []PresetInfo {
	list := make([]PresetInfo, len(l))
	for i, p := range l {
		list[i] = p.PresetInfo
	}
	return list
}

// Get returns the configuration of a name. An error lists the names.
func (l Presets[C]) Get(name string) (C, error) {
	names := make([]string, len(l))
	for i, p := range l {
		if p.Name == name {
			return p.Config(), nil
		}
		names[i] = p.Name
	}
	var none C
	return none, fmt.Errorf("no preset %q; want one of %s", name, strings.Join(names, ", "))
}
