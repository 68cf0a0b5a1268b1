package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/traces"
)

// catFilter says which events trace cat prints.
type catFilter struct {
	kinds    []string
	sids     []string
	from, to uint64
	limit    uint64

	kind map[traces.Kind]bool
	sid  map[emu.SourceID]bool
}

func (a *app) traceCatCommand() *cobra.Command {
	var f catFilter
	cmd := &cobra.Command{
		Use:   "cat [TRACE]",
		Short: "Print the events of a trace as CSV",
		Long: `cat prints events as CSV, one per line, with the columns of trace convert. Without TRACE it prints the
embedded trace. What is printed is a trace again only if nothing was left out.`,
		Example: "  iommulab trace cat --limit 5\n  iommulab trace cat --kind map,unmap --sid 0x0018 --from 1000000 --to 2000000",
		Args:    optionalTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.parse(); err != nil {
				return err
			}
			err := a.traceCat(cmd.Context(), optional(args), &f)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.kinds, "kind", nil, "`KINDS` of events to print, separated by commas")
	fl.StringSliceVar(&f.sids, "sid", nil, "requesters to print, as 0x10 or 00:02.0, separated by commas")
	fl.Uint64Var(&f.from, "from", 0, "first time in `NS`")
	fl.Uint64Var(&f.to, "to", math.MaxUint64, "first time in `NS` that is not printed")
	fl.Uint64VarP(&f.limit, "limit", "n", math.MaxUint64, "print at most `N` events")
	complete(cmd, "kind", kindNames()...)
	return cmd
}

func kindNames() []string {
	var names []string
	for k := traces.Read; k <= traces.Marker; k++ {
		names = append(names, k.String())
	}
	return names
}

func (f *catFilter) parse() error {
	for _, s := range f.kinds {
		k, err := traces.ParseKind(s)
		if err != nil {
			return fmt.Errorf("--kind: %w, want %s", err, strings.Join(kindNames(), ", "))
		}
		if f.kind == nil {
			f.kind = make(map[traces.Kind]bool)
		}
		f.kind[k] = true
	}
	for _, s := range f.sids {
		sid, err := parseSID(s)
		if err != nil {
			return fmt.Errorf("--sid: %w", err)
		}
		if f.sid == nil {
			f.sid = make(map[emu.SourceID]bool)
		}
		f.sid[sid] = true
	}
	return nil
}

func (f *catFilter) keep(e *traces.Event) bool {
	return (f.kind == nil || f.kind[e.Kind]) && (f.sid == nil || f.sid[e.SID]) && e.Time >= f.from
}

func (a *app) traceCat(ctx context.Context, path string, f *catFilter) error {
	in, err := a.openTrace(path)
	if err != nil {
		return err
	}
	defer in.close()
	dst, err := traces.NewCSVWriter(a.stdout, in.Header())
	if err != nil {
		return err
	}
	var buf []traces.Event
	n, seen := uint64(0), 0
	for e, err := range traces.All(in) {
		if err != nil {
			return errors.Join(err, dst.Write(buf))
		}
		if seen++; seen%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if n == f.limit || e.Time >= f.to {
			break
		}
		if !f.keep(&e) {
			continue
		}
		n++
		if buf = append(buf, e); len(buf) == 1024 {
			if err := dst.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	if err := dst.Write(buf); err != nil {
		return err
	}
	return dst.Close()
}
