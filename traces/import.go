package traces

import (
	"errors"
	"io"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// ImportOptions steer an import. The zero value is strict.
type ImportOptions struct {
	Name    string // of the input, for errors and the header; taken from the reader if empty
	Lenient bool   // count malformed known events instead of failing at the first
	// NoMappings keeps an import from deriving Map and Unmap events (QEMU logs).
	NoMappings bool
	// Devices names requesters that are not PCI functions, by the name that the log has for them.
	Devices map[string]emu.SourceID
	// Alias replaces a requester by the one that the IOMMU sees, such as that of a PCIe-to-PCI bridge.
	Alias map[emu.SourceID]emu.SourceID
}

// importer is what the importers of all text formats share.
type importer struct {
	opts   ImportOptions
	lines  *lineReader
	trace  *Trace
	report *Report
	marks  map[string]int
	timed  bool   // zero is set
	zero   uint64 // time of the first line, on the clock of the log
	now    uint64 // time of the current line in ns since then
}

func newImporter(r io.Reader, format string, opts ImportOptions) *importer {
	im := &importer{
		opts: opts, lines: newLineReader(r, opts.Name), report: &Report{Format: format},
		trace: &Trace{Header: Header{Version: Version}}, marks: make(map[string]int),
	}
	im.trace.Header.Source = format + " log"
	return im
}

// run feeds every line to do. A malformed line is an error, or is counted.
func (im *importer) run(do func(line string) error) (*Trace, *Report, error) {
	for {
		line, _, err := im.lines.next()
		if errors.Is(err, io.EOF) {
			im.report.Events = len(im.trace.Events)
			return im.trace, im.report, nil
		}
		if err != nil {
			return im.trace, im.report, err
		}
		im.report.Lines++
		if line == "" || line[0] == '#' {
			im.report.Comments++
			continue
		}
		if err := do(line); err != nil {
			if !im.opts.Lenient {
				return im.trace, im.report, err
			}
			im.report.Malformed++
			if im.report.FirstError == nil {
				im.report.FirstError = err
			}
		}
	}
}

func (im *importer) malformed(field, want, got string) error {
	return &Error{File: im.lines.name, Line: im.lines.n, Field: field, Want: want, Got: got}
}

// clock sets the time of the current line from that of the log, in ns. Logs of several threads are not
// always in order; a trace is.
func (im *importer) clock(ns uint64) {
	if !im.timed {
		im.timed, im.zero = true, ns
	}
	switch {
	case ns < im.zero+im.now:
		im.report.Reordered++
	default:
		im.now = ns - im.zero
	}
}

// add appends an event at the time of the current line.
func (im *importer) add(e Event) {
	e.Time = im.now
	if e.SID != NoSID {
		im.trace.Header.addDevice(e.SID)
	}
	im.trace.Events = append(im.trace.Events, e)
}

// mark appends a Marker with a text.
func (im *importer) mark(text string, e Event) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	i, known := im.marks[text]
	if !known {
		i = len(im.trace.Header.Marks)
		im.marks[text] = i
		im.trace.Header.Marks = append(im.trace.Header.Marks, text)
	}
	e.Kind, e.PA, e.HasPA = Marker, emu.PA(i), true
	im.add(e)
}

func (im *importer) skip(reason string, n int) { count(&im.report.Skipped, reason, n) }

func (im *importer) alias(sid emu.SourceID) emu.SourceID {
	if a, ok := im.opts.Alias[sid]; ok {
		return a
	}
	return sid
}

// rule is a known event: the texts that it may have, tried in order (none: anything), and what it means to
// an importer of type T. Without do the event is known and ignored.
type rule[T any] struct {
	name  string
	texts []string
	do    func(T, *fields) error
}

type compiledRule[T any] struct {
	rule[T]
	patterns []pattern
}

// compileRules makes the table that events are looked up in.
func compileRules[T any](tables ...[]rule[T]) map[string]*compiledRule[T] {
	m := make(map[string]*compiledRule[T])
	for _, table := range tables {
		for _, r := range table {
			c := &compiledRule[T]{rule: r}
			for _, text := range r.texts {
				c.patterns = append(c.patterns, compile(text))
			}
			m[r.name] = c
		}
	}
	return m
}

// apply runs the rule of the event on its text.
func (r *compiledRule[T]) apply(im *importer, to T, text string) error {
	var f fields
	for _, p := range r.patterns {
		if p.match(text, &f) {
			if r.do == nil {
				im.report.Ignored++
			} else if err := r.do(to, &f); err != nil {
				return err
			}
			im.report.Known++
			return nil
		}
	}
	if len(r.patterns) == 0 {
		im.report.Known++
		im.report.Ignored++
		return nil
	}
	want := r.texts[0]
	if want == "" {
		want = "nothing behind it"
	}
	return im.malformed(r.name, want, text)
}
