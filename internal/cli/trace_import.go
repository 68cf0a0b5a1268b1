package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/report"
	"github.com/iommulab/iommulab/traces"
)

// importFormats are the values of --format.
var importFormats = []string{"auto", "ftrace", "qemu"}

// importFlags are the flags of trace import.
type importFlags struct {
	format  string
	lenient bool
	devices []string
	aliases []string
	change  changeFlags
	output  string
}

// importReport is the document of trace import.
type importReport struct {
	Schema     string         `json:"schema"`
	Format     string         `json:"format"`
	Lines      int            `json:"lines"`
	Comments   int            `json:"comments"`
	Known      int            `json:"known"`
	Ignored    int            `json:"ignored"`
	Events     int            `json:"events"`
	Derived    int            `json:"derived"`
	Malformed  int            `json:"malformed"`
	FirstError string         `json:"first_error,omitempty"`
	Reordered  int            `json:"reordered"`
	Lost       uint64         `json:"lost"`
	Unknown    map[string]int `json:"unknown,omitempty"`
	Skipped    map[string]int `json:"skipped,omitempty"`
}

func (a *app) traceImportCommand() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import LOG -o FILE",
		Short: "Make a trace of a log: ftrace, trace-cmd, perf script, QEMU",
		Long: `import reads the text of ftrace, trace-cmd report or perf script (dma:*, iommu:*, intel_iommu:*), or the
trace log of QEMU (vtd_*, amdvi_*, smmu*), plain or zstd (.zst). Lines with events that it does not know
are counted and told; a known event that cannot be read is an error with its line, or counted with
--lenient.`,
		Example: "  iommulab trace import ftrace.txt.zst -o boot.iotrace --synth-accesses\n" +
			"  iommulab trace import qemu-trace.log.zst --format qemu -o run.iotrace --json -",
		Args: nArgs("LOG"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(cmd, "--format", f.format, importFormats); err != nil {
				return err
			}
			if err := needOut(cmd, f.output); err != nil {
				return err
			}
			err := a.traceImport(cmd.Context(), args[0], &f)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "auto", "what wrote the log: "+strings.Join(importFormats, ", "))
	fl.BoolVar(&f.lenient, "lenient", false, "count known events that cannot be read instead of stopping")
	fl.StringArrayVar(&f.devices, "device", nil, "`NAME=SID`: requester of a device that is not a PCI function; repeatable")
	fl.StringArrayVar(&f.aliases, "alias", nil, "`SID=SID`: requester that the IOMMU sees instead; repeatable")
	complete(cmd, "format", importFormats...)
	f.change.add(cmd)
	outFlag(cmd, &f.output)
	a.jsonFlag(cmd)
	return cmd
}

func (f *importFlags) options(name string) (o traces.ImportOptions, err error) {
	o = traces.ImportOptions{Name: name, Lenient: f.lenient, Devices: map[string]emu.SourceID{}, Alias: map[emu.SourceID]emu.SourceID{}}
	for _, s := range f.devices {
		i := strings.LastIndexByte(s, '=')
		if i <= 0 {
			return o, fmt.Errorf("--device: %q, want NAME=SID", s)
		}
		if o.Devices[s[:i]], err = parseSID(s[i+1:]); err != nil {
			return o, fmt.Errorf("--device: %w", err)
		}
	}
	for _, s := range f.aliases {
		from, to, ok := strings.Cut(s, "=")
		if !ok {
			return o, fmt.Errorf("--alias: %q, want SID=SID", s)
		}
		a, err := parseSID(from)
		if err != nil {
			return o, fmt.Errorf("--alias: %w", err)
		}
		if o.Alias[a], err = parseSID(to); err != nil {
			return o, fmt.Errorf("--alias: %w", err)
		}
	}
	return o, nil
}

func (a *app) traceImport(ctx context.Context, path string, f *importFlags) error {
	in, err := a.open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	opts, err := f.options(in.name)
	if err != nil {
		return err
	}
	text, done, err := in.text()
	if err != nil {
		return err
	}
	defer done()
	r := bufio.NewReaderSize(ctxReader{ctx, text}, 1<<16)
	read := traces.ImportQEMU
	if f.format == "ftrace" || f.format == "auto" && isFtrace(r) {
		read = traces.ImportFtrace
	}
	t, rep, err := read(r, opts)
	if err != nil {
		return err
	}
	if t, err = f.change.apply(t); err != nil {
		return err
	}
	if _, err := a.writeTrace(ctx, f.output, t.Source()); err != nil {
		return err
	}
	kinds := make(map[string]uint64)
	for i := range t.Events {
		kinds[t.Events[i].Kind.String()]++
	}
	a.tellAccesses(f.output, kinds)
	if a.jsonPath == "" {
		a.say("%s", strings.TrimRight(rep.String(), "\n"))
		return nil
	}
	return a.importReport(rep, f.output)
}

// importReport writes the report; the trace has stdout if it is written there.
func (a *app) importReport(rep *traces.Report, output string) error {
	x := importReport{
		Schema: "iommulab.import/1", Format: rep.Format, Lines: rep.Lines, Comments: rep.Comments, Known: rep.Known,
		Ignored: rep.Ignored, Events: rep.Events, Derived: rep.Derived, Malformed: rep.Malformed, Reordered: rep.Reordered,
		Lost: rep.Lost, Unknown: rep.Unknown, Skipped: rep.Skipped,
	}
	if rep.FirstError != nil {
		x.FirstError = rep.FirstError.Error()
	}
	if a.jsonPath == "-" && output == "-" {
		return errors.New("--json: -, want a file, since the trace goes to stdout")
	}
	return a.save(a.jsonPath, func(w io.Writer) error { return report.WriteJSON(w, x) })
}

// ftraceLine is how a line of ftrace, trace-cmd or perf script begins: task-pid [cpu] flags time: event.
var ftraceLine = regexp.MustCompile(`(?m)^# tracer:|^\s*\S.*\s\[\d+\]\s.*\d+\.\d+: \S+:`)

// isFtrace looks at the beginning of a log.
func isFtrace(r *bufio.Reader) bool {
	head, _ := r.Peek(1 << 16) // a short file is fine
	return ftraceLine.Match(head)
}
