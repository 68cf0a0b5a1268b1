package timing

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/iommulab/iommulab/iotlb"
)

//go:embed presets/*.toml
var presets embed.FS

// Caches are the geometries of a unit's caches, and of a device's. Zero sets or ways: it lacks the cache.
type Caches struct {
	IOTLB iotlb.Geometry   `toml:"iotlb"`
	Entry iotlb.Geometry   `toml:"entry"`
	PASID iotlb.Geometry   `toml:"pasid"`
	Walk  []iotlb.Geometry `toml:"walk"` // paging-structure caches, from the level above the leaves upwards
	// Nested translation: second-stage translations by themselves, and the paging-structure caches of
	// the second stage.
	Stage2 iotlb.Geometry   `toml:"stage2"`
	Walk2  []iotlb.Geometry `toml:"walk2"`
	// Device is the TLB of a device with address translation services.
	Device iotlb.Geometry `toml:"device"`
}

// Preset is a machine's timing and caches under a name.
type Preset struct {
	Name    string `toml:"-"`
	Base    string `toml:"base"` // preset that gives what this one leaves out
	Section `toml:",inline"`
	// Units has what a machine with the unit of that name is like, complete. For reads it.
	Units map[string]*Section `toml:"units,omitempty"`
}

// ErrPreset is what every error about a preset wraps.
var ErrPreset = errors.New("preset")

// PresetNames returns the built-in presets in alphabetical order.
func PresetNames() []string {
	entries, err := fs.ReadDir(presets, "presets")
	if err != nil {
		panic(err) // the directory is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".toml"))
	}
	sort.Strings(names)
	return names
}

// LoadPreset returns the built-in preset of that name, or, if the name contains a dot or a slash,
// the one in that file. The error names file, line and field.
func LoadPreset(name string) (*Preset, error) {
	p := &Preset{}
	if err := p.load(name, 0); err != nil {
		return nil, err
	}
	p.Name = name
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPreset, name, err)
	}
	return p, nil
}

// maxBases bounds a chain of presets that name each other.
const maxBases = 8

func (p *Preset) load(name string, depth int) error {
	if depth > maxBases {
		return fmt.Errorf("%w %s: base: more than %d presets deep", ErrPreset, name, maxBases)
	}
	var text []byte
	var err error
	if strings.ContainsAny(name, "./\\") {
		text, err = os.ReadFile(name)
	} else if text, err = presets.ReadFile("presets/" + name + ".toml"); err != nil {
		return fmt.Errorf("%w %q: not built in; want one of %s, or a file name", ErrPreset, name, strings.Join(PresetNames(), ", "))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPreset, err)
	}
	var head struct {
		Base string `toml:"base"`
	}
	if err := toml.Unmarshal(text, &head); err != nil {
		return presetError(name, err)
	}
	base := head.Base
	if base == "" && name != "default" {
		base = "default"
	}
	if base != "" {
		if err := p.load(base, depth+1); err != nil {
			return err
		}
	}
	return p.apply(name, text)
}

func presetError(name string, err error) error {
	if e, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(e.Errors) > 0 {
		row, col := e.Errors[0].Position()
		return fmt.Errorf("%w %s:%d:%d: %s: no such parameter", ErrPreset, name, row, col, strings.Join(e.Errors[0].Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, col := e.Position()
		return fmt.Errorf("%w %s:%d:%d: %s: %s", ErrPreset, name, row, col, strings.Join(e.Key(), "."), e.Error())
	}
	return fmt.Errorf("%w %s: %w", ErrPreset, name, err)
}

// maxCycles bounds every latency, so that sums of them never overflow.
const maxCycles = 1 << 40

func (p *Preset) validate() error {
	if err := p.Section.validate(); err != nil {
		return err
	}
	for _, name := range p.Sections() {
		if err := p.Units[name].validate(); err != nil {
			return fmt.Errorf("units.%s: %w", name, err)
		}
	}
	return nil
}

func (p *Section) validate() error {
	for _, c := range []struct {
		name     string
		v        uint64
		min, max uint64
	}{
		{"clock_mhz", p.ClockMHz, 1, 100_000},
		{"walkers", uint64(p.Walkers), 1, 4096},
		{"miss_registers", uint64(p.MissRegisters), 1, 4096},
		{"max_payload_bytes", uint64(p.MaxPayload), 1, 4096},
		{"max_read_bytes", uint64(p.MaxRead), 1, 4096},
		{"unknown_length_bytes", uint64(p.UnknownLength), 1, 4096},
		{"host.store_buffer", uint64(p.Host.Buffer), 1, 4096},
		{"host.split_per_mille", p.Host.SplitPerMil, 0, 1000},
	} {
		if c.v < c.min || c.v > c.max {
			return fmt.Errorf("%s = %d: want %d to %d", c.name, c.v, c.min, c.max)
		}
	}
	for _, c := range p.cycles() {
		if c.v > maxCycles {
			return fmt.Errorf("%s = %d: want at most %d", c.name, c.v, uint64(maxCycles))
		}
	}
	c := &p.Caches
	for _, g := range slices.Concat([]iotlb.Geometry{c.IOTLB, c.Entry, c.PASID, c.Stage2, c.Device}, c.Walk, c.Walk2) {
		if err := g.Validate(); err != nil {
			return fmt.Errorf("caches: %w", err)
		}
	}
	return nil
}

type namedCycles struct {
	name string
	v    uint64
}

// cycles lists every latency.
func (p *Params) cycles() []namedCycles {
	h := &p.Host
	return []namedCycles{
		{"link_cycles", p.Link}, {"ingress_cycles", p.Ingress}, {"lookup_cycles", p.Lookup}, {"probe_cycles", p.Probe},
		{"fill_cycles", p.Fill}, {"mem_cycles", p.Mem}, {"mem_interval_cycles", p.MemInterval}, {"follow_cycles", p.Follow},
		{"data_cycles", p.Data}, {"command_cycles", p.Command}, {"queue_cycles", p.Queue}, {"fault_cycles", p.Fault},
		{"step_cycles", p.Step}, {"invalidate_cycles", p.Invalidate}, {"msi_cycles", p.MSI}, {"ats_round_cycles", p.ATSRound},
		{"ats_timeout_cycles", p.ATSTimeout}, {"host.store_cycles", h.Store}, {"host.drain_cycles", h.Drain},
		{"host.drain_spread_cycles", h.DrainSpread}, {"host.load_cycles", h.Load}, {"host.locked_cycles", h.Locked},
		{"host.read_register_cycles", h.ReadReg}, {"host.write_register_cycles", h.WriteReg}, {"host.write_issue_cycles", h.WriteIssue},
		{"host.poll_cycles", h.Poll}, {"host.flush_line_cycles", h.FlushLine}, {"host.zero_line_cycles", h.ZeroLine}, {"host.irq_cycles", h.IRQ},
		{"host.gap_cycles", h.Gap}, {"host.split_cycles", h.Split},
	}
}

// Resolved returns every parameter of the preset under the name that preset files use, for records.
func (p *Preset) Resolved() (map[string]any, error) {
	text, err := toml.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPreset, p.Name, err)
	}
	m := map[string]any{}
	if err := toml.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrPreset, p.Name, err)
	}
	return m, nil
}
