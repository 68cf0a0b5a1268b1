package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/report"
	"github.com/iommulab/iommulab/traces"
)

func (a *app) traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Make, read and convert traces",
		Long: `trace works on recordings of device accesses and of the mappings that make them legal. Files are in
the native format (.iotrace), CSV (.csv) or Parquet (.parquet); what is read is known by its content,
what is written by its name.`,
		Example: "  iommulab trace info",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return usageError(cmd, "want a command") },
	}
	cmd.AddCommand(a.traceImportCommand(), a.traceGenCommand(), a.traceInfoCommand(), a.traceCatCommand(), a.traceConvertCommand())
	return cmd
}

// traceInput is an open trace.
type traceInput struct {
	traces.Source
	name  string
	bytes int64
	sum   string // SHA-256 of the file
	close func()
}

// openTrace opens a trace; "" is the embedded one, "-" is stdin. The file is noted in the manifest.
func (a *app) openTrace(path string) (*traceInput, error) {
	switch path {
	case "":
		b := traces.DefaultBytes()
		r, err := traces.Default()
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(b)
		return &traceInput{r, traces.DefaultName, int64(len(b)), hex.EncodeToString(sum[:]), func() {}}, nil
	case "-":
		b, err := io.ReadAll(a.stdin)
		if err != nil {
			return nil, fileError("stdin", err)
		}
		sum := sha256.Sum256(b)
		t := &traceInput{name: "stdin", bytes: int64(len(b)), sum: hex.EncodeToString(sum[:]), close: func() {}}
		a.manifest.input(report.Input{Name: t.name, Bytes: t.bytes, SHA256: t.sum})
		t.Source, err = traceOf(b)
		return t, err
	}
	in, err := a.open(path)
	if err != nil {
		return nil, err
	}
	in.Close() // reads it all, for the hash
	t := &traceInput{name: path, bytes: in.n, sum: hex.EncodeToString(in.hash.Sum(nil))}
	f, err := traces.Open(path)
	if err != nil {
		return nil, err
	}
	t.Source, t.close = f, func() { _ = f.Close() }
	return t, nil
}

// traceOf reads a trace that is in memory: what traces.Open does for files.
func traceOf(b []byte) (traces.Source, error) {
	switch {
	case bytes.HasPrefix(b, []byte("PAR1")):
		return traces.NewParquetReader(bytes.NewReader(b), int64(len(b)))
	case bytes.HasPrefix(b, []byte("#")), bytes.HasPrefix(b, []byte("time_ns,")):
		return traces.NewCSVReader(bytes.NewReader(b))
	}
	return traces.NewReader(bytes.NewReader(b))
}

// sinkFor returns the writer for a file name.
func sinkFor(path string, w io.Writer, h *traces.Header) (traces.Sink, error) {
	switch filepath.Ext(path) {
	case ".csv":
		return traces.NewCSVWriter(w, h)
	case ".parquet":
		return traces.NewParquetWriter(w, h)
	}
	return traces.NewWriter(w, h)
}

// outFlag gives cmd the flag --output.
func outFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "output", "o", "", "`FILE` to write: .iotrace, .csv or .parquet; - is native to stdout")
}

// needOut checks the flag.
func needOut(cmd *cobra.Command, path string) error {
	switch filepath.Ext(path) {
	case ".iotrace", ".csv", ".parquet":
		return nil
	}
	switch path {
	case "":
		return usageError(cmd, "--output is missing")
	case "-":
		return nil
	}
	return usageError(cmd, "--output: %q, want a name that ends in .iotrace, .csv or .parquet", path)
}

// writeTrace copies src to a file and returns the number of events.
func (a *app) writeTrace(ctx context.Context, path string, src traces.Source) (n uint64, err error) {
	err = a.save(path, func(w io.Writer) error {
		dst, err := sinkFor(path, w, src.Header())
		if err != nil {
			return err
		}
		if n, err = a.copyEvents(ctx, dst, src); err != nil {
			return err
		}
		return dst.Close()
	})
	return n, err
}

func (a *app) copyEvents(ctx context.Context, dst traces.Sink, src traces.Source) (uint64, error) {
	p := a.progress("events", 0)
	n, err := traces.Copy(&watchedSink{dst, ctx, p, 0}, src)
	p.end(n)
	return n, err
}

// watchedSink tells progress and stops when the context ends.
type watchedSink struct {
	traces.Sink
	ctx context.Context
	p   *progress
	n   uint64
}

// Write passes events on.
func (s *watchedSink) Write(e []traces.Event) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	s.n += uint64(len(e))
	s.p.at(s.n)
	return s.Sink.Write(e)
}

// ctxReader stops reading when the context ends.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

// Read reads unless it is over.
func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// accessible reports whether a trace has accesses, and says so if not.
func (a *app) tellAccesses(name string, kinds map[string]uint64) {
	for _, k := range []string{"read", "write", "access", "exec"} {
		if kinds[k] > 0 {
			return
		}
	}
	a.say("%s: no accesses: it replays as control plane only; --synth-accesses makes some up from the mappings", strings.TrimSpace(name))
}
