package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/report"
)

func (a *app) conformReplayCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Run one program on our unit and on QEMU's, and print what differs",
		Long: `replay runs a program file step by step and prints each step with what differs after it. Known differences
are named; exit code 1 if there is one that is not known, or if the file says that it shows a known one
and it does not.

The format of the file is described in docs/conform.md.`,
		Example: "  iommulab conform replay program.conform\n" +
			"  iommulab conform replay program.conform --json -",
		Args: nArgs("the program"),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.conformReplay(cmd.Context(), args[0], path)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	a.qemuFlag(cmd, &path)
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) conformReplay(ctx context.Context, file, qemuPath string) error {
	in, err := a.open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := conform.Parse(in, in.name)
	if err != nil {
		return err
	}
	t, ok := conform.FindTarget(p.IOMMU, p.Mode)
	if !ok {
		if names := conformModes(p.IOMMU); names != nil {
			return fmt.Errorf("%s: iommu %s, mode %s: want mode %s", in.name, p.IOMMU, p.Mode, known(names))
		}
		return fmt.Errorf("%s: iommu %s: want %s", in.name, p.IOMMU, known(conformUnits()))
	}
	p.File = in.name
	for _, id := range p.Shows {
		if _, ok := t.Deviation(id); !ok {
			return fmt.Errorf("%s: shows: %q is no known deviation in mode %s", in.name, id, p.Mode)
		}
	}
	var lines []string
	doc, err := conform.Replay(ctx, t, p, newQEMUs(qemuPath).open, func(i int, s *conform.Step, diffs []conform.Diff) {
		if i < 0 && len(diffs) == 0 {
			return
		}
		if i < 0 {
			lines = append(lines, "power-on")
		} else {
			lines = append(lines, fmt.Sprintf("%4d  %v", i, s))
		}
		for k := range diffs {
			lines = append(lines, fmt.Sprintf("        %s  [%s]", diffs[k].String(), diffs[k].Known()))
		}
	})
	if err != nil {
		return err
	}
	err = a.output(doc, func(w io.Writer) error {
		for _, l := range lines {
			if _, err := fmt.Fprintln(w, l); err != nil {
				return err
			}
		}
		return printReplayed(w, &doc.Modes[0])
	})
	if err != nil {
		return err
	}
	return a.conformVerdict(doc)
}

func printReplayed(w io.Writer, m *report.ConformMode) error {
	verdict := "the same but for known differences"
	if len(m.Deviations) == 0 {
		verdict = "the same"
	}
	if len(m.Differences) > 0 {
		verdict = "not the same"
	}
	if err := printDifferences(w, m); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d steps, %d DMAs: %s\n", m.Steps, m.DMAs, verdict)
	return err
}
