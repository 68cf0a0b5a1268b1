package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/hitless/lab"
	hostentry "github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/report"
)

// hitlessFlags are the flags of hitless.
type hitlessFlags struct {
	iommu, kind, writer string
	all, explain        bool
	jobs                int
}

func (a *app) hitlessCommand() *cobra.Command {
	var f hitlessFlags
	cmd := &cobra.Command{
		Use:   "hitless",
		Short: "Explore every rewrite of every kind of entry by every writer",
		Long: `hitless rewrites entries between all ordered pairs of representative forms, by each writer, and
tries on the model every way in which a request can go meanwhile. The verdict of a cell is

  nop         nothing is stored: hardware would see no difference
  hitless     each request ends as under the old entry or as under the new one
  disruptive  some do not; all of those fault
  unsafe      some are translated otherwise, or translations outlive the rewrite, or get under an id
              that other entries share

Other entries share the ids, and one id is free. Exit code 1: a writer claims what is not found.

` + planKindsHelp(),
		Example: "  iommulab hitless --iommu vtd --kind context\n" +
			"  iommulab hitless --iommu smmuv3 --kind cd --writer naive --explain",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cells, err := f.cells(cmd)
			if err != nil {
				return err
			}
			err = a.hitless(cmd.Context(), &f, cells)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	s := cmd.Flags()
	s.StringVar(&f.iommu, "iommu", "", "only one architecture: "+known(planIOMMUs()))
	s.StringVar(&f.kind, "kind", "", "only one kind of entry")
	s.StringVar(&f.writer, "writer", "", "only one writer: "+known(writerNames()))
	s.BoolVar(&f.all, "all", false, "all forms, not only those that stand for others")
	s.BoolVar(&f.explain, "explain", false, "show the counterexamples")
	s.IntVar(&f.jobs, "jobs", 0, "cells at one time (default the number of processors); results do not depend on it")
	complete(cmd, "iommu", planIOMMUs()...)
	complete(cmd, "kind", planKinds("")...)
	complete(cmd, "writer", writerNames()...)
	a.jsonFlag(cmd)
	return cmd
}

// cells makes the part of the matrix that is asked for.
func (f *hitlessFlags) cells(cmd *cobra.Command) ([]*lab.Cell, error) {
	if f.iommu != "" {
		if err := oneOf(cmd, "--iommu", f.iommu, planIOMMUs()); err != nil {
			return nil, err
		}
	}
	writers := hostentry.Writers()
	if f.writer != "" {
		if err := oneOf(cmd, "--writer", f.writer, writerNames()); err != nil {
			return nil, err
		}
		w, _ := hostentry.WriterByName(f.writer)
		writers = []hostentry.Writer{w}
	}
	var kinds []*lab.Kind
	for _, k := range lab.Kinds() {
		if (f.iommu == "" || k.IOMMU == f.iommu) && (f.kind == "" || k.Name == f.kind) {
			kinds = append(kinds, k)
		}
	}
	if len(kinds) == 0 {
		return nil, usageError(cmd, "--kind: %q, want %s", f.kind, known(planKinds(f.iommu)))
	}
	return lab.Cells(kinds, writers, f.all), nil
}

func (a *app) hitless(ctx context.Context, f *hitlessFlags, cells []*lab.Cell) error {
	begin := time.Now()
	p := a.progress("cells", uint64(len(cells)))
	err := lab.RunAll(ctx, cells, f.jobs, func(done int) { p.at(uint64(done)) })
	r := report.NewHitless()
	for _, c := range cells {
		if c.Result != nil {
			r.Cells = append(r.Cells, cellDocument(c))
		}
	}
	p.end(uint64(len(r.Cells)))
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	r.Incomplete = err != nil
	r.Wall.Seconds = time.Since(begin).Seconds()
	if werr := a.output(r, func(w io.Writer) error { return printHitless(w, r, f.explain) }); werr != nil {
		return werr
	}
	for i := range r.Cells {
		if err == nil && r.Cells[i].Broken() {
			return errCheck
		}
	}
	return err
}

func cellDocument(c *lab.Cell) report.HitlessCell {
	return report.HitlessCell{
		IOMMU: c.Kind.IOMMU, Kind: c.Kind.Name, From: c.From.Name, To: c.To.Name, Writer: c.Writer.Name(),
		Verdict: c.Result.Found, Transparent: c.Result.Transparent, States: c.Result.States, Counterexample: c.Result.Counterexample,
		Variant: c.Kind.Variant, Claim: c.Result.Verdict.String(), Reason: c.Result.Reason, Syncs: c.Syncs,
	}
}

// printHitless writes the matrix for people.
func printHitless(w io.Writer, r *report.Hitless, explain bool) error {
	g := newGrid(0)
	count := map[string]int{}
	broken := 0
	g.row("iommu\tkind\twriter\tfrom\tto\tverdict\tsyncs\tstates")
	for i := range r.Cells {
		c := &r.Cells[i]
		verdict := c.Verdict
		if c.Broken() {
			broken++
			verdict += " (claimed: " + c.Claim + ")"
		}
		count[c.Verdict]++
		g.row("%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d", c.IOMMU, strings.TrimSpace(c.Kind+" "+c.Variant), c.Writer, c.From, c.To, verdict, c.Syncs, c.States)
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	var b strings.Builder
	for i := range r.Cells {
		if c := &r.Cells[i]; explain && c.Counterexample != "" {
			fmt.Fprintf(&b, "\n%s %s, %s to %s by %s: %s\n%s", c.IOMMU, strings.TrimSpace(c.Kind+" "+c.Variant), c.From, c.To, c.Writer, c.Verdict, c.Counterexample)
		}
	}
	fmt.Fprintf(&b, "%d cells: %d nop, %d hitless, %d disruptive, %d unsafe; %d not what the writer claims\n",
		len(r.Cells), count[lab.Nop], count[lab.Hitless], count[lab.Disruptive], count[lab.Unsafe], broken)
	_, err := io.WriteString(w, b.String())
	return err
}
