package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/internal/atomicfile"
	"github.com/iommulab/iommulab/report"
)

func (a *app) conformCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "conform",
		Short: "Compare our units with those of QEMU",
		Long: `conform runs programs - register accesses, stores to memory, invalidations, DMA of several devices - on a
unit of ours and on QEMU's model of the same unit, and compares what both show after each step. Differences
that are known are in a table (docs/conform.md); any other fails, and so does a known one that is gone.

QEMU is the one that make qemu has installed, or that of PATH, or what --qemu or ` + qtest.Env + ` names.`,
		Example: "  iommulab conform units --mode legacy --programs 20\n" +
			"  iommulab conform replay program.conform",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(cmd, "want a command")
		},
	}
	cmd.AddCommand(a.conformUnitsCommand(), a.conformReplayCommand())
	return cmd
}

// conformFlags are the flags of conform units.
type conformFlags struct {
	iommus []string
	modes  []string
	qemu   string
	out    string
	opt    conform.Options
}

func (a *app) conformUnitsCommand() *cobra.Command {
	var f conformFlags
	cmd := &cobra.Command{
		Use:   "units",
		Short: "Run generated programs on our unit and on QEMU's",
		Long: `units runs, for each mode, the programs that were written for the known differences, and generated ones:
a function of the seed, about half of them legal throughout, the others with mistakes of software.

A program that shows a difference that is not known is made as small as possible and, with --out, written to
a file for conform replay. Exit code 1 if there is one, or if a known difference did not show.`,
		Example: "  iommulab conform units --mode legacy --programs 20\n" +
			"  iommulab conform units --programs 5 --seed 7 --out . --json -",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.resolve(cmd); err != nil {
				return err
			}
			a.manifest.doc.Seed = f.opt.Seed
			err := a.conformUnits(cmd.Context(), &f)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.iommus, "iommu", nil, "units: "+known(conformUnits())+" (default all that there is a QEMU for)")
	fl.StringSliceVar(&f.modes, "mode", nil, "modes: "+known(conformModes(""))+" (default all)")
	fl.IntVar(&f.opt.Programs, "programs", 300, "generated programs for each mode")
	fl.Uint64Var(&f.opt.Seed, "seed", 1, "seed of the programs")
	fl.StringVar(&f.out, "out", "", "write programs that show an unknown difference to `DIR`")
	fl.IntVar(&f.opt.Jobs, "jobs", 2, "QEMUs at one time; results do not depend on it")
	a.qemuFlag(cmd, &f.qemu)
	complete(cmd, "iommu", conformUnits()...)
	complete(cmd, "mode", conformModes("")...)
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) qemuFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "qemu", "", "QEMU to compare with: a `PROGRAM` (default what make qemu has installed, or that of PATH)")
}

// conformUnits are the units that there are programs for.
func conformUnits() []string {
	var names []string
	for _, t := range conform.Targets("") {
		if !slices.Contains(names, t.IOMMU) {
			names = append(names, t.IOMMU)
		}
	}
	return names
}

// conformModes are the modes of a unit, or of all.
func conformModes(iommu string) []string {
	var names []string
	for _, t := range conform.Targets(iommu) {
		names = append(names, t.Mode)
	}
	return names
}

// resolve turns flags into options.
func (f *conformFlags) resolve(cmd *cobra.Command) error {
	for _, name := range f.iommus {
		if err := oneOf(cmd, "--iommu", name, conformUnits()); err != nil {
			return err
		}
	}
	if f.opt.Programs < 0 || f.opt.Jobs < 1 {
		return usageError(cmd, "--programs %d, --jobs %d: want 0 or more, and 1 or more", f.opt.Programs, f.opt.Jobs)
	}
	for _, t := range conform.Targets("") {
		if (len(f.iommus) == 0 || slices.Contains(f.iommus, t.IOMMU)) && (len(f.modes) == 0 || slices.Contains(f.modes, t.Mode)) {
			f.opt.Targets = append(f.opt.Targets, t)
		}
	}
	for _, m := range f.modes {
		if !slices.ContainsFunc(f.opt.Targets, func(t *conform.Target) bool { return t.Mode == m }) {
			return usageError(cmd, "--mode: %q, want %s", m, known(f.known()))
		}
	}
	return nil
}

// known are the modes that the units asked for have.
func (f *conformFlags) known() []string {
	if len(f.iommus) == 0 {
		return conformModes("")
	}
	var names []string
	for _, name := range f.iommus {
		names = append(names, conformModes(name)...)
	}
	return names
}

// qemus are the QEMUs to compare with, by system. path names the one for x86_64, with others beside it; if
// it is empty they are looked for.
type qemus struct {
	path  string
	found map[string]*qtest.Binary
}

func newQEMUs(path string) *qemus { return &qemus{path, make(map[string]*qtest.Binary)} }

// binary returns the QEMU that has a mode.
func (q *qemus) binary(m qemu.Mode) (*qtest.Binary, error) {
	system := m.System()
	if b, ok := q.found[system]; ok {
		return b, nil
	}
	var b *qtest.Binary
	var err error
	switch {
	case q.path == "":
		b, err = qtest.Find(system)
	case system == qtest.Q35.System:
		b, err = qtest.Open(q.path)
	default:
		b, err = qtest.Open(filepath.Join(filepath.Dir(q.path), "qemu-system-"+system))
	}
	if err == nil {
		q.found[system] = b
	}
	return b, err
}

// open starts QEMU in the mode of a target.
func (q *qemus) open(t *conform.Target) (conform.Peer, error) {
	m, err := qemu.ParseMode(t.IOMMU, t.PeerMode())
	if err != nil {
		return nil, err
	}
	b, err := q.binary(m)
	if err != nil {
		return nil, err
	}
	return qemu.Open(qemu.Options{Binary: b, Mode: m})
}

// available leaves out the units that there is no QEMU for, if none was asked for by name. It is an error
// if there is nothing left.
func (a *app) available(f *conformFlags, q *qemus) error {
	var first error
	missing := make(map[string]bool)
	var list []*conform.Target
	for _, t := range f.opt.Targets {
		m, err := qemu.ParseMode(t.IOMMU, t.PeerMode())
		if err != nil {
			return err
		}
		switch _, err = q.binary(m); {
		case err == nil:
			list = append(list, t)
			continue
		case len(f.iommus) > 0 || !errors.Is(err, qtest.ErrNoQEMU):
			return err
		case first == nil:
			first = err
		}
		if !missing[t.IOMMU] {
			missing[t.IOMMU] = true
			a.say("%s is left out: %v", t.IOMMU, err)
		}
	}
	if f.opt.Targets = list; len(list) == 0 {
		return first
	}
	return nil
}

func (a *app) conformUnits(ctx context.Context, f *conformFlags) error {
	o := &f.opt
	q := newQEMUs(f.qemu)
	if err := a.available(f, q); err != nil {
		return err
	}
	o.Open = q.open
	if f.out != "" {
		if st, err := os.Stat(f.out); err != nil || !st.IsDir() {
			return fmt.Errorf("--out %s: want a folder", f.out)
		}
		o.Keep = func(p *conform.Program, name string) (string, error) {
			path := filepath.Join(f.out, name+".conform")
			return path, atomicfile.Write(path, p.Write)
		}
	}
	o.Directed = conform.Directed
	total := 0
	for _, t := range o.Targets {
		list, err := conform.Directed(t)
		if err != nil {
			return err
		}
		total += len(list) + o.Programs
	}
	p := a.progress("programs", uint64(total))
	o.Progress = func(done int) { p.at(uint64(done)) }
	doc, err := conform.Campaign(ctx, *o)
	if doc == nil {
		return err
	}
	p.end(uint64(total))
	if werr := a.output(doc, func(w io.Writer) error { return printConform(w, doc) }); werr != nil {
		return werr
	}
	if err != nil {
		return err
	}
	return a.conformVerdict(doc)
}

// conformVerdict turns what does not hold into an error.
func (a *app) conformVerdict(doc *report.Conform) error {
	for i := range doc.Modes {
		m := &doc.Modes[i]
		for _, n := range m.Notes {
			a.say("%s %s: %s: %s", m.IOMMU, m.Mode, doc.Peer, n)
		}
		if n := len(m.Differences); n > 0 {
			a.say("%s %s: %d programs with differences that are not known", m.IOMMU, m.Mode, n)
		}
		if len(m.Gone) > 0 {
			a.say("%s %s: known deviations that were not seen: %s", m.IOMMU, m.Mode, known(m.Gone))
		}
	}
	if !doc.Holds() {
		return errCheck
	}
	return nil
}

// printDifferences prints what is not known.
func printDifferences(w io.Writer, m *report.ConformMode) error {
	for _, d := range m.Differences {
		where := ""
		if d.File != "" {
			where = fmt.Sprintf(", %d steps in %s", d.Steps, d.File)
		}
		_, err := fmt.Fprintf(w, "difference: %s %s, program %s, step %d%s: %s\n", m.IOMMU, m.Mode, d.Program, d.Step, where, strings.Join(d.Differs, "; "))
		if err != nil {
			return err
		}
	}
	return nil
}

func printConform(w io.Writer, d *report.Conform) error {
	if _, err := fmt.Fprintf(w, "compared with %s, seed %d\n", d.Peer, d.Seed); err != nil {
		return err
	}
	g := newGrid(tabwriter.AlignRight)
	g.row("iommu\tmode\tprograms\tlegal\tdirected\tsteps\tdmas\tdone\tended\tdifferences\tdeviations\tgone\t")
	for i := range d.Modes {
		m := &d.Modes[i]
		g.row("%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", m.IOMMU, m.Mode, m.Programs, m.Legal, m.Directed, m.Steps,
			m.DMAs, m.DMAsDone, m.Ended, len(m.Differences), len(m.Deviations), len(m.Gone))
	}
	g.row("")
	if err := g.writeTo(w); err != nil {
		return err
	}
	g = newGrid(0)
	g.row("deviation\tmode\tright\tprograms\tsteps")
	for i := range d.Modes {
		for _, v := range d.Modes[i].Deviations {
			g.row("%s\t%s\t%s\t%d\t%d", v.ID, d.Modes[i].Mode, v.Right, v.Programs, v.Steps)
		}
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	for i := range d.Modes {
		if err := printDifferences(w, &d.Modes[i]); err != nil {
			return err
		}
	}
	return nil
}
