package cli

import (
	"errors"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/iommulab/iommulab/report"
)

// manifestData collects what a manifest says while a command runs.
type manifestData struct {
	doc   report.Manifest
	start time.Time
}

// notConfig are flags that do not change a result.
var notConfig = map[string]bool{"help": true, "quiet": true, "progress": true, "manifest": true, "json": true, "jobs": true}

func (m *manifestData) begin(cmd *cobra.Command) error {
	m.start = time.Now()
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	m.doc = report.Manifest{
		Schema: report.ManifestSchema, Command: name, Config: map[string]string{},
		Versions: report.ThisVersion(), Inputs: []report.Input{},
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !notConfig[f.Name] {
			m.doc.Config[f.Name] = f.Value.String()
		}
	})
	if args := cmd.Flags().Args(); len(args) > 0 {
		m.doc.Config["arguments"] = strings.Join(args, " ")
	}
	return nil
}

func (m *manifestData) input(in report.Input) { m.doc.Inputs = append(m.doc.Inputs, in) }

// finish writes the manifest, if one is wanted, and passes err on. A run that was interrupted says so.
func (a *app) finish(err error, interrupted bool) error {
	if a.manifestPath == "" || err != nil && !errors.Is(err, errCheck) && !interrupted {
		return err
	}
	d := &a.manifest.doc
	d.Incomplete = interrupted
	d.Wall.Seconds = a.elapsed().Seconds()
	if werr := a.save(a.manifestPath, func(w io.Writer) error { return report.WriteJSON(w, d) }); werr != nil {
		return werr
	}
	return err
}

// elapsed is the time since the command began, on the real machine.
func (a *app) elapsed() time.Duration { return time.Since(a.manifest.start) }

// wall fills the part of a result that depends on the real machine.
func (a *app) wall(requests uint64) report.Wall {
	s := a.elapsed().Seconds()
	w := report.Wall{Seconds: s}
	if s > 0 {
		w.RequestsPerSecond = float64(requests) / s
	}
	return w
}
