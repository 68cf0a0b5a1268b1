package replay

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu/timing"
	"github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/traces"
)

// To says where a rewrite moves a device.
type To string

// The targets.
const (
	ToEqual   To = "equal"   // a fresh domain with the same translation
	ToChanged To = "changed" // a fresh domain in which every page is elsewhere
)

// Input opens a trace. Each cell reads it on its own, more than once if it has to repeat it.
type Input struct {
	Name   string
	SHA256 string
	Open   func() (traces.Source, io.Closer, error)
}

// Options configure a replay. The zero value of a field means its default.
type Options struct {
	Input   Input
	IOMMU   []string       // units; default all there are
	Modes   []string       // default all of each unit
	Writers []entry.Writer // default all four
	To      []To           // default both
	Preset  *timing.Preset // required

	Seed        uint64  // default 1
	Outstanding int     // requests each device keeps in flight; default 32
	Rewrites    int     // at least so many per run; default 100, -1 for none
	Requests    uint64  // at least so many per run; default 20000
	TimeScale   float64 // > 0: recorded pace, simulated time over recorded time
	Rate        uint64  // > 0: requests per simulated second and device
	Jobs        int     // cells at one time; default the number of processors
	// Omit leaves steps out of each rewrite's invalidation: fault injection, to show what breaks.
	Omit entry.Omit

	// Progress, if set, is called from time to time with the state of all cells. It must not block.
	Progress func([]Progress)

	accesses uint64 // in the trace
}

// closedLoop reports whether devices keep their requests in flight by themselves.
func (o *Options) closedLoop() bool { return o.TimeScale == 0 && o.Rate == 0 }

// ErrOptions is what an error about the options wraps.
var ErrOptions = errors.New("options")

func (o *Options) fill() error {
	if o.Preset == nil {
		return fmt.Errorf("%w: no preset", ErrOptions)
	}
	if o.Input.Open == nil {
		return fmt.Errorf("%w: no trace", ErrOptions)
	}
	def := func(v *uint64, d uint64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.Seed, 1)
	def(&o.Requests, 20_000)
	if o.Outstanding == 0 {
		o.Outstanding = 32
	}
	if o.Rewrites == 0 {
		o.Rewrites = 100
	}
	if o.Jobs <= 0 {
		o.Jobs = runtime.GOMAXPROCS(0)
	}
	if o.Outstanding < 1 || o.Outstanding > 4096 {
		return fmt.Errorf("%w: outstanding %d: want 1 to 4096", ErrOptions, o.Outstanding)
	}
	if o.TimeScale < 0 || o.TimeScale > 1e9 || o.TimeScale != o.TimeScale {
		return fmt.Errorf("%w: time scale %v: want a positive number", ErrOptions, o.TimeScale)
	}
	if o.TimeScale > 0 && o.Rate > 0 {
		return fmt.Errorf("%w: time scale and rate exclude each other", ErrOptions)
	}
	for _, name := range o.Preset.Sections() {
		if archByName(name) == nil {
			return fmt.Errorf("%w: preset %s: units.%s: want one of %s", ErrOptions, o.Preset.Name, name, strings.Join(Units(), ", "))
		}
	}
	if len(o.IOMMU) == 0 {
		for _, a := range architectures {
			o.IOMMU = append(o.IOMMU, a.name)
		}
	}
	if len(o.Writers) == 0 {
		o.Writers = entry.Writers()
	}
	if len(o.To) == 0 {
		o.To = []To{ToEqual, ToChanged}
	}
	for _, t := range o.To {
		if t != ToEqual && t != ToChanged {
			return fmt.Errorf("%w: to %q: want %s or %s", ErrOptions, t, ToEqual, ToChanged)
		}
	}
	return nil
}

// cells returns what is to be run, in the order of the report.
func (o *Options) cells() ([]cellSpec, error) {
	var cells []cellSpec
	used := map[string]bool{}
	var known []string
	for _, name := range o.IOMMU {
		a := archByName(name)
		if a == nil {
			return nil, fmt.Errorf("%w: iommu %q: want one of %s", ErrOptions, name, strings.Join(Units(), ", "))
		}
		for _, mode := range a.modes {
			known = append(known, mode.name)
			if len(o.Modes) > 0 && !slices.Contains(o.Modes, mode.name) {
				continue
			}
			used[mode.name] = true
			for _, w := range o.Writers {
				for _, to := range o.To {
					cells = append(cells, cellSpec{a, mode, w, to})
				}
			}
		}
	}
	for _, m := range o.Modes {
		if !used[m] {
			return nil, fmt.Errorf("%w: mode %q: want one of %s", ErrOptions, m, strings.Join(known, ", "))
		}
	}
	return cells, nil
}

// cellSpec is one cell of the comparison.
type cellSpec struct {
	arch   *arch
	mode   *mode
	writer entry.Writer
	to     To
}
