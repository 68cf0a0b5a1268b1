package cli

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/report"
)

func (a *app) walkCommand() *cobra.Command {
	var snap snapFlags
	var oracle string
	var strict bool
	cmd := &cobra.Command{
		Use:   "walk --core FILE --regs FILE --oracle FILE",
		Short: "Translate a list of requests against a snapshot, and check the results",
		Long: `walk loads the memory and the registers of a snapshot into the model of its IOMMU and makes one DMA
of 8 bytes for each row of a list.

The list is CSV with a header, plain or zstd (.zst). Columns sid, iova and access are needed; pasid
may be there, and empty or 0 is a request without PASID. With a column expect (ok or fault), and pa
for rows that expect ok, results are checked: exit code 1 if any differs. Without it the
translations are printed. Other columns are not looked at.

A snapshot may say who recorded it. Where its recorder is known to depart from the specification, and a
result is what the list expects only with that, the request agrees, and the departure is named. With
--strict it differs.`,
		Example: "  iommulab walk --core core.elf.zst --regs regs.json --oracle oracle.csv\n" +
			"  iommulab walk --core core.elf.zst --regs regs.json --oracle requests.csv --json -",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := snap.need(cmd, true); err != nil {
				return err
			}
			if oracle == "" {
				return usageError(cmd, "--oracle is missing")
			}
			err := a.walk(cmd.Context(), &snap, oracle, strict)
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	snap.add(cmd)
	cmd.Flags().StringVar(&oracle, "oracle", "", "requests, with or without expectations: CSV `FILE`")
	cmd.Flags().BoolVar(&strict, "strict", false, "known deviations of the recorder are differences")
	a.jsonFlag(cmd)
	return cmd
}

func (a *app) walk(ctx context.Context, f *snapFlags, oracle string, strict bool) error {
	s, err := a.loadUnit(f)
	if err != nil {
		return err
	}
	in, err := a.open(oracle)
	if err != nil {
		return err
	}
	defer in.Close()
	text, done, err := in.text()
	if err != nil {
		return err
	}
	defer done()
	rows, err := newOracle(text, in.name)
	if err != nil {
		return err
	}
	r := report.NewWalk()
	run := walker{snap: s, strict: strict, fn: emu.NewFunctional(s.unit, s.mem), out: r, progress: a.progress("requests", 0)}
	err = run.all(ctx, rows)
	if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	r.Incomplete = err != nil
	r.Wall = a.wall(run.n)
	if werr := a.output(r, func(w io.Writer) error { return printWalk(w, r, rows.checks) }); werr != nil {
		return werr
	}
	if err == nil && r.Differ > 0 {
		return errCheck
	}
	return err
}

// walker does the requests of a list.
type walker struct {
	snap     *snap
	strict   bool
	fn       *emu.Functional
	out      *report.Walk
	progress *progress
	n        uint64
}

func (w *walker) all(ctx context.Context, rows *oracle) error {
	defer func() { w.progress.end(w.n) }()
	for {
		if w.n%1024 == 0 {
			w.progress.at(w.n)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		w.one(row, rows.checks)
		w.n++
	}
}

func (w *walker) one(row *oracleRow, check bool) {
	var r emu.Result
	w.fn.Translate(&row.req, &r)
	if check {
		w.out.Checked++
		d := (*report.WalkDeviation)(nil)
		agree := row.agrees(&r)
		if !agree && !w.strict {
			d = w.deviate(row, &r)
		}
		if d != nil {
			d.Agree++
		}
		if agree || d != nil {
			w.out.Agree++
			return
		}
		w.out.Differ++
	}
	t := report.Translation{
		Line: row.line, SID: showSID(row.req.Source), PASID: showPASID(row.req.PASID),
		IOVA: hexOf(uint64(row.req.Addr)), Access: row.access,
	}
	fill(&t, w.fn.Unit(), &r)
	if !check {
		w.out.Translations = append(w.out.Translations, t)
		return
	}
	d := report.WalkDifference{Translation: t, Expect: "fault"}
	if row.ok {
		d.Expect, d.ExpectPA = "ok", hexOf(uint64(row.pa))
	}
	w.out.Differences = append(w.out.Differences, d)
}

func printWalk(w io.Writer, r *report.Walk, checks bool) error {
	g := newGrid(0)
	if len(r.Translations) > 0 {
		g.row("sid\tpasid\tiova\taccess\tresult\tpa\tperm\tpage_size\tfault")
	}
	for i := range r.Translations {
		g.row("%s", columns(&r.Translations[i]))
	}
	if len(r.Differences) > 0 {
		g.row("line\texpect\tpa\tsid\tpasid\tiova\taccess\tresult\tpa\tperm\tpage_size\tfault")
	}
	for i := range r.Differences {
		d := &r.Differences[i]
		g.row("%d\t%s\t%s\t%s", d.Line, d.Expect, dash(d.ExpectPA), columns(&d.Translation))
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	if !checks {
		return nil
	}
	if _, err := fmt.Fprintf(w, "%d checked, %d agree, %d differ\n", r.Checked, r.Agree, r.Differ); err != nil {
		return err
	}
	for _, d := range r.Deviations {
		if _, err := fmt.Fprintf(w, "%d of them only as %s deviates from %s: %s\n", d.Agree, d.Recorder, d.Clause, d.What); err != nil {
			return err
		}
	}
	return nil
}

func columns(t *report.Translation) string {
	fault := t.Fault
	if t.FaultCode != "" {
		fault = t.FaultCode + " " + fault
	}
	c := []string{t.SID, t.PASID, t.IOVA, t.Access, t.Result, t.PA, t.Perm, t.PageSize, fault}
	for i := range c {
		c[i] = dash(c[i])
	}
	return strings.Join(c, "\t")
}

// dash keeps columns aligned and fields countable.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oracle reads a list of requests.
type oracle struct {
	csv    *csv.Reader
	name   string
	col    map[string]int
	checks bool // there are expectations
	row    oracleRow
}

// oracleRow is one request and what is expected of it.
type oracleRow struct {
	line   int
	req    emu.Request
	access string
	ok     bool // expect=ok
	pa     emu.PA
}

// agrees reports whether r is what the row expects.
func (o *oracleRow) agrees(r *emu.Result) bool {
	if o.ok {
		return r.Status == emu.OK && r.PA == o.pa
	}
	return r.Status == emu.Blocked
}

func newOracle(r io.Reader, name string) (*oracle, error) {
	o := &oracle{csv: csv.NewReader(r), name: name, col: make(map[string]int)}
	o.csv.ReuseRecord = true
	head, err := o.csv.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: line 1: no header, want columns sid, iova, access", name)
	}
	if err != nil {
		return nil, o.place(err)
	}
	for i, c := range head {
		if _, twice := o.col[c]; twice {
			return nil, fmt.Errorf("%s: line 1: column %q appears twice, want it once", name, c)
		}
		o.col[strings.TrimPrefix(c, "\ufeff")] = i
	}
	for _, c := range []string{"sid", "iova", "access"} {
		if _, ok := o.col[c]; !ok {
			return nil, fmt.Errorf("%s: line 1: column %s is missing, want sid, iova, access", name, c)
		}
	}
	if _, o.checks = o.col["expect"]; o.checks {
		if _, ok := o.col["pa"]; !ok {
			return nil, fmt.Errorf("%s: line 1: column pa is missing, want it beside expect", name)
		}
	}
	return o, nil
}

// place puts the file before an error of package csv, which has the line.
func (o *oracle) place(err error) error {
	if pe, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("%s: line %d: %w, want as many fields as the header, quoted as CSV", o.name, pe.Line, pe.Err)
	}
	return fmt.Errorf("%s: %w", o.name, err)
}

// next returns the next row, valid until the call after, or io.EOF.
func (o *oracle) next() (*oracleRow, error) {
	rec, err := o.csv.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, o.place(err)
	}
	o.row = oracleRow{}
	o.row.line, _ = o.csv.FieldPos(0)
	if field, err := o.parse(rec); err != nil {
		return nil, fmt.Errorf("%s: line %d: %s: %w", o.name, o.row.line, field, err)
	}
	return &o.row, nil
}

// parse fills the row; the name of the field goes with the error.
func (o *oracle) parse(rec []string) (string, error) {
	get := func(c string) string {
		if i, ok := o.col[c]; ok {
			return rec[i]
		}
		return ""
	}
	sid, err := parseSID(get("sid"))
	if err != nil {
		return "sid", err
	}
	p, err := parsePASID(get("pasid"))
	if err != nil {
		return "pasid", err
	}
	if p == 0 { // what tools write for a request without PASID
		p = emu.NoPASID
	}
	iova, err := parseAddr(get("iova"))
	if err != nil {
		return "iova", err
	}
	o.row.access = get("access")
	access, err := parseAccess(o.row.access)
	if err != nil {
		return "access", err
	}
	o.row.req = makeRequest(sid, p, iova, access)
	if !o.checks {
		return "", nil
	}
	switch e := get("expect"); e {
	case "ok":
		pa, err := parseAddr(get("pa"))
		if err != nil {
			return "pa", err
		}
		o.row.ok, o.row.pa = true, emu.PA(pa)
	case "fault":
	default:
		return "expect", fmt.Errorf("%q, want ok or fault", e)
	}
	return "", nil
}
