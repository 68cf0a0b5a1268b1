package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/traces"
)

// changeFlags change a trace on its way.
type changeFlags struct {
	window string
	synth  bool
	derive bool
}

func (c *changeFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&c.window, "window", "", "keep `FROM..TO` in ns (TO may be missing), with the mappings in force put before it")
	fl.BoolVar(&c.synth, "synth-accesses", false, "make accesses up from the mappings; marks the trace synthetic")
	fl.BoolVar(&c.derive, "derive-mappings", false, "derive map and unmap events from accesses and invalidations")
}

func (c *changeFlags) any() bool { return c.window != "" || c.synth || c.derive }

// apply makes the changes in the order derive, window, synthesize.
func (c *changeFlags) apply(t *traces.Trace) (*traces.Trace, error) {
	var err error
	if c.derive {
		if t, err = traces.DeriveMappings(t); err != nil {
			return nil, err
		}
	}
	if c.window != "" {
		from, to, err := parseWindow(c.window)
		if err != nil {
			return nil, err
		}
		t = traces.Window(t, from, to)
	}
	if c.synth {
		t = traces.SynthAccesses(t)
	}
	return t, nil
}

// parseWindow reads FROM..TO; to 0 is the end.
func parseWindow(s string) (from, to uint64, err error) {
	a, b, ok := strings.Cut(s, "..")
	if ok {
		if from, err = strconv.ParseUint(a, 10, 64); err == nil && b != "" {
			to, err = strconv.ParseUint(b, 10, 64)
		}
	}
	if !ok || err != nil || b != "" && to <= from {
		return 0, 0, fmt.Errorf("--window: %q, want FROM..TO in ns, FROM before TO", s)
	}
	return from, to, nil
}

func (a *app) traceConvertCommand() *cobra.Command {
	var c changeFlags
	var merge, offset string
	cmd := &cobra.Command{
		Use:   "convert IN OUT",
		Short: "Convert a trace between native, CSV and Parquet, cut it, merge two",
		Long: `convert reads a trace and writes it in the format that the name of OUT ends in: .iotrace, .csv or
.parquet. Nothing is lost between them. --merge puts the events of a second trace in; its clock
offset has to be stated, since nothing in the traces tells it.`,
		Example: "  iommulab trace convert trace.iotrace trace.csv\n" +
			"  iommulab trace convert trace.csv part.parquet --window 0..50000",
		Args: nArgs("IN", "OUT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needOut(cmd, args[1]); err != nil {
				return err
			}
			if (merge == "") != (offset == "") {
				return usageError(cmd, "--merge and --offset: want both or none")
			}
			err := a.traceConvert(cmd.Context(), args[0], args[1], &c, merge, offset)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	c.add(cmd)
	cmd.Flags().StringVar(&merge, "merge", "", "second `TRACE` to put in")
	cmd.Flags().StringVar(&offset, "offset", "", "`NS` to add to the times of the second trace")
	return cmd
}

func (a *app) traceConvert(ctx context.Context, from, to string, c *changeFlags, merge, offset string) error {
	in, err := a.openTrace(from)
	if err != nil {
		return err
	}
	defer in.close()
	src := in.Source
	if c.any() || merge != "" {
		t, err := traces.ReadAll(src)
		if err != nil {
			return err
		}
		if merge != "" {
			if t, err = a.mergeTrace(t, merge, offset); err != nil {
				return err
			}
		}
		if t, err = c.apply(t); err != nil {
			return err
		}
		src = t.Source()
	}
	n, err := a.writeTrace(ctx, to, src)
	if err != nil {
		return err
	}
	a.say("%s: %d events", to, n)
	return nil
}

func (a *app) mergeTrace(t *traces.Trace, path, offset string) (*traces.Trace, error) {
	ns, err := strconv.ParseInt(offset, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("--offset: %q, want a number of ns", offset)
	}
	in, err := a.openTrace(path)
	if err != nil {
		return nil, err
	}
	defer in.close()
	second, err := traces.ReadAll(in)
	if err != nil {
		return nil, err
	}
	return traces.Merge(t, second, ns)
}
