package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/report"
)

func (a *app) compareCommand() *cobra.Command {
	var tolerance, ignore []string
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Compare two result files",
		Long: `compare compares two results value by value. Everything under wall (times of the real machine)
is left out. Cells are matched by what they are, not by their place.

Exit code 0 if they are the same within the tolerances, 1 if not, 2 if a file is not a result.`,
		Example: "  iommulab compare before.json after.json\n" +
			"  iommulab compare before.json after.json --tolerance latency_sim_ns.*=5% --ignore runs.cycles",
		Args: nArgs("result A", "result B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.finish(a.compare(args[0], args[1], tolerance, ignore), false)
		},
	}
	cmd.Flags().StringArrayVar(&tolerance, "tolerance", nil, "`METRIC=5%` or METRIC=100: how far a number may be apart; repeatable, the last that matches counts")
	cmd.Flags().StringArrayVar(&ignore, "ignore", nil, "`METRIC` to leave out; repeatable")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) compare(nameA, nameB string, tolerance, ignore []string) error {
	var tols []report.Tolerance
	for _, s := range tolerance {
		t, err := report.ParseTolerance(s)
		if err != nil {
			return err
		}
		tols = append(tols, t)
	}
	docA, err := a.document(nameA)
	if err != nil {
		return err
	}
	docB, err := a.document(nameB)
	if err != nil {
		return err
	}
	c, err := report.Compare(docA, docB, tols, ignore)
	if err != nil {
		return err
	}
	if err := a.output(c, func(w io.Writer) error { return printComparison(w, c) }); err != nil {
		return err
	}
	if !c.Same() {
		return errCheck
	}
	return nil
}

func (a *app) document(path string) (*report.Document, error) {
	in, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return report.ReadDocument(in, in.name)
}

func printComparison(w io.Writer, c *report.Comparison) error {
	g := newGrid(0)
	for _, d := range c.Differences {
		g.row("%s\t%s\t%s", d.Path, d.A, d.B)
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d values, %d differ, %d more within tolerance\n", c.Values, len(c.Differences), c.Tolerated)
	return err
}
