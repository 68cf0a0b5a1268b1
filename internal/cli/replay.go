package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu/timing"
	hostentry "github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/replay"
	"github.com/iommulab/iommulab/report"
)

// replayFlags are the flags of replay.
type replayFlags struct {
	iommu, modes, writers []string
	to, preset            string
	opt                   replay.Options
}

// Values that stand for all the others.
const (
	toBoth   = "both"
	iommuAll = "all"
)

func (a *app) replayCommand() *cobra.Command {
	var f replayFlags
	cmd := &cobra.Command{
		Use:   "replay [TRACE]",
		Short: "Replay DMA while context entries are rewritten, and measure what it sees",
		Long: `replay runs the accesses of a trace through a timed model while host software moves its devices to
other domains. Each combination of unit, mode, writer and target is a run of its own. Without TRACE it
replays the embedded recording of a real system.

A run whose rewrites were all declared hitless is checked: exit code 1 if any request shows one.`,
		Example: "  iommulab replay --mode legacy --writer hitless,naive --to equal --requests 2000 --rewrites 10\n" +
			"  iommulab replay trace.iotrace --mode legacy --writer hitless --to changed --requests 2000 --rewrites 10 --json -",
		Args: optionalTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.resolve(cmd); err != nil {
				return err
			}
			resolved, err := f.opt.Preset.Resolved()
			if err != nil {
				return err
			}
			a.manifest.doc.Seed, a.manifest.doc.Preset, a.manifest.doc.PresetData = f.opt.Seed, f.preset, resolved
			err = a.replay(cmd.Context(), optional(args), &f)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.iommu, "iommu", []string{iommuAll}, "units: "+known(replay.Units())+", or all")
	fl.StringSliceVar(&f.modes, "mode", nil, "translation modes (default all of each unit)")
	fl.StringSliceVar(&f.writers, "writer", nil, "ways to rewrite an entry: "+known(writerNames())+" (default all)")
	fl.StringVar(&f.to, "to", toBoth, "where devices move: equal (same translation), changed (other pages) or both")
	fl.StringVar(&f.preset, "preset", "default", "timing and caches: "+known(timing.PresetNames())+", or a TOML `FILE`")
	fl.Uint64Var(&f.opt.Seed, "seed", 1, "seed of all random numbers")
	fl.IntVar(&f.opt.Outstanding, "outstanding", 32, "requests that each device keeps in flight")
	fl.IntVar(&f.opt.Rewrites, "rewrites", 100, "rewrites per run, at least")
	fl.Uint64Var(&f.opt.Requests, "requests", 20_000, "requests per run, at least")
	fl.Float64Var(&f.opt.TimeScale, "time-scale", 0, "replay at the recorded pace: simulated over recorded time")
	fl.Uint64Var(&f.opt.Rate, "rate", 0, "requests per simulated second and device")
	fl.IntVar(&f.opt.Jobs, "jobs", 0, "runs at one time (default the number of processors); results do not depend on it")
	complete(cmd, "iommu", append(replay.Units(), iommuAll)...)
	complete(cmd, "writer", writerNames()...)
	complete(cmd, "to", toBoth, string(replay.ToEqual), string(replay.ToChanged))
	complete(cmd, "preset", timing.PresetNames()...)
	a.jsonFlag(cmd)
	return cmd
}

func writerNames() []string {
	var names []string
	for _, w := range hostentry.Writers() {
		names = append(names, w.Name())
	}
	return names
}

// resolve turns flags into options.
func (f *replayFlags) resolve(cmd *cobra.Command) error {
	o := &f.opt
	if o.Modes = f.modes; !slices.Contains(f.iommu, iommuAll) {
		o.IOMMU = f.iommu
	}
	for _, name := range f.writers {
		w, ok := hostentry.WriterByName(name)
		if !ok {
			return usageError(cmd, "--writer: %q, want %s", name, known(writerNames()))
		}
		o.Writers = append(o.Writers, w)
	}
	if err := oneOf(cmd, "--to", f.to, []string{string(replay.ToEqual), string(replay.ToChanged), toBoth}); err != nil {
		return err
	}
	if f.to != toBoth {
		o.To = []replay.To{replay.To(f.to)}
	}
	if o.Rewrites == 0 { // in Options 0 is the default
		o.Rewrites = -1
	}
	var err error
	o.Preset, err = timing.LoadPreset(f.preset)
	return err
}

func (a *app) replay(ctx context.Context, path string, f *replayFlags) error {
	o := &f.opt
	o.Input = replay.DefaultInput()
	if path == "" {
		a.manifest.input(report.Input{Name: o.Input.Name, SHA256: o.Input.SHA256})
	} else {
		in, err := a.open(path) // for its hash, and for errors in our words
		if err != nil {
			return err
		}
		in.Close()
		if o.Input, err = replay.FileInput(path); err != nil {
			return err
		}
	}
	p := a.progress("requests", 0)
	o.Progress = func(cells []replay.Progress) {
		var done uint64
		p.total = 0
		for i := range cells {
			done += cells[i].Requests
			p.total += max(cells[i].Want, cells[i].Requests)
		}
		p.at(done)
	}
	doc, err := replay.Run(ctx, *o)
	if err != nil && (doc == nil || !errors.Is(err, context.Canceled)) {
		return err
	}
	p.end(p.total)
	if werr := a.output(doc, func(w io.Writer) error { return printReplay(w, doc) }); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	for i := range doc.Runs {
		if broken := doc.Runs[i].Broken(); broken != "" {
			a.say("%s", broken)
			err = errCheck
		}
	}
	return err
}

func printReplay(w io.Writer, d *report.Replay) error {
	if _, err := fmt.Fprintf(w, "%s: %d events, %d devices\n", d.Trace.Name, d.Trace.Events, d.Trace.Devices); err != nil {
		return err
	}
	for _, n := range d.Notes {
		if _, err := fmt.Fprintln(w, n); err != nil {
			return err
		}
	}
	g := newGrid(tabwriter.AlignRight)
	g.row("%s", strings.Join([]string{
		"iommu", "mode", "writer", "to", "requests", "faulted", "wrong", "stale", "late", "torn", "rewrites", "hitless", "disruptive",
		"window", "stall", "p50 ns", "p99 ns", "max ns", "",
	}, "\t"))
	for i := range d.Runs {
		r := &d.Runs[i]
		g.row("%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.1f\t",
			r.IOMMU, r.Mode, r.Writer, r.To, r.Requests, r.Faulted, r.Wrong, r.Stale, r.Late, r.TornReads, r.Rewrites.Count,
			r.Rewrites.Hitless, r.Rewrites.Disruptive, r.Rewrites.WindowCyclesMax, r.MaxStallCycles,
			r.Latency.P50, r.Latency.P99, r.Latency.Max)
	}
	return g.writeTo(w)
}
