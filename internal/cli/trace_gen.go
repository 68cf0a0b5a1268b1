package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/traces"
)

// genFlags are the parameters of a generator that were given.
type genFlags struct {
	accesses, seed, footprint, pageBytes, accessBytes, interval uint64
	devices, pasids                                             int
	firstSID                                                    string
	writes, zipf                                                float64
	output                                                      string
}

func (a *app) traceGenCommand() *cobra.Command {
	var f genFlags
	cmd := &cobra.Command{
		Use:   "gen NAME -o FILE",
		Short: "Generate a synthetic trace",
		Long: `gen writes a synthetic trace. NAME is one of ` + strings.Join(traces.SpecNames(), ", ") + `.
Flags that are not given have the values of that generator. Equal flags give equal files.`,
		Example:           "  iommulab trace gen zipf --accesses 1000 --devices 4 -o zipf.iotrace\n  iommulab trace gen ring --accesses 1000 --seed 7 -o ring.csv",
		Args:              nArgs("NAME"),
		ValidArgsFunction: cobra.FixedCompletions(traces.SpecNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needOut(cmd, f.output); err != nil {
				return err
			}
			spec, err := f.spec(cmd, args[0])
			if err != nil {
				return err
			}
			a.manifest.doc.Seed = spec.Seed
			err = a.traceGen(cmd.Context(), spec, f.output)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	fl := cmd.Flags()
	fl.Uint64Var(&f.accesses, "accesses", 0, "number of accesses")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the random numbers")
	fl.IntVar(&f.devices, "devices", 0, "requesters")
	fl.IntVar(&f.pasids, "pasids", 0, "address spaces per device, each with a PASID; 0 is one without")
	fl.StringVar(&f.firstSID, "first-sid", "", "requester of the first device, as 0x100 or 01:00.0")
	fl.Uint64Var(&f.footprint, "footprint", 0, "`BYTES` of an address space")
	fl.Uint64Var(&f.pageBytes, "map-bytes", 0, "`BYTES` of one mapping, a power of two")
	fl.Uint64Var(&f.accessBytes, "access-bytes", 0, "`BYTES` of one access")
	fl.Uint64Var(&f.interval, "interval", 0, "`NS` from access to access")
	fl.Float64Var(&f.writes, "writes", 0, "fraction of accesses that are writes, 0 to 1")
	fl.Float64Var(&f.zipf, "zipf-s", 0, "exponent of zipf, above 1")
	outFlag(cmd, &f.output)
	return cmd
}

func (f *genFlags) spec(cmd *cobra.Command, name string) (traces.Spec, error) {
	s, err := traces.NamedSpec(name)
	if err != nil {
		return s, err
	}
	fl := cmd.Flags()
	for _, v := range []struct {
		flag string
		set  func()
	}{
		{"accesses", func() { s.Accesses = f.accesses }},
		{"seed", func() { s.Seed = f.seed }},
		{"devices", func() { s.Devices = f.devices }},
		{"pasids", func() { s.PASIDs = f.pasids }},
		{"footprint", func() { s.Footprint = f.footprint }},
		{"map-bytes", func() { s.MapBytes = f.pageBytes }},
		{"access-bytes", func() { s.AccessBytes = f.accessBytes }},
		{"interval", func() { s.Interval = f.interval }},
		{"writes", func() { s.WriteFraction = f.writes }},
		{"zipf-s", func() { s.ZipfS = f.zipf }},
	} {
		if fl.Changed(v.flag) {
			v.set()
		}
	}
	if f.firstSID != "" {
		var sid emu.SourceID
		if sid, err = parseSID(f.firstSID); err != nil {
			return s, &placeError{"--first-sid", err}
		}
		s.FirstSID = sid
	}
	return s, nil
}

func (a *app) traceGen(ctx context.Context, spec traces.Spec, path string) error {
	g, err := traces.Generate(spec)
	if err != nil {
		return err
	}
	n, err := a.writeTrace(ctx, path, g)
	if err != nil {
		return err
	}
	a.say("%s: %d events", path, n)
	return nil
}
