package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/report"
)

// explanation is the document of explain.
type explanation struct {
	Schema  string             `json:"schema"`
	IOMMU   string             `json:"iommu"`
	Steps   []explainStep      `json:"steps"`
	Outcome report.Translation `json:"outcome"`
	Step    string             `json:"fault_step,omitempty"`
	Clause  string             `json:"fault_clause,omitempty"`
	At      string             `json:"fault_at,omitempty"` // structure or paging entry that raised it
	Note    string             `json:"fault_note,omitempty"`
}

// explainStep is one question of the unit and its answer.
type explainStep struct {
	Op      string   `json:"op"`
	Name    string   `json:"name"` // of the step in the specification
	Clause  string   `json:"clause,omitempty"`
	Address string   `json:"address,omitempty"`
	Bytes   uint8    `json:"bytes,omitempty"`
	Cache   string   `json:"cache,omitempty"`
	Answer  string   `json:"answer"`
	Words   []string `json:"words,omitempty"`
	Struct  string   `json:"struct,omitempty"`
	Fields  string   `json:"fields,omitempty"` // those that are not 0
}

func (a *app) explainCommand() *cobra.Command {
	var f snapFlags
	var pasid, data string
	cmd := &cobra.Command{
		Use:   "explain --core FILE --regs FILE SID IOVA [ACCESS]",
		Short: "Follow one request through a snapshot step by step",
		Long: `explain makes one DMA of 8 bytes and shows what the IOMMU does for it: each look-up in a cache, each
fetch with the fields that are not 0, each fill, and the clause of the specification that says so.

SID is a number or a PCI address as 00:02.0. ACCESS is made of R, W, X and P (privileged), R by
default. With --data the request is an interrupt: a write of 4 bytes to IOVA. The exit code is 0 if the
request translates or not: what is asked is why.`,
		Example: "  iommulab explain --core core.elf.zst --regs regs.json 00:02.0 0xffbfe220\n" +
			"  iommulab explain --core core.elf.zst --regs regs.json 0x0010 0xffbfe220 W --json -\n" +
			"  iommulab explain --core core.elf.zst --regs regs.json 00:03.0 0xfee00378 --data 0",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 3 {
				return nil
			}
			return nArgs("SID", "IOVA")(cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.need(cmd, true); err != nil {
				return err
			}
			q, err := explainRequest(append(args, "R"), pasid)
			if err == nil && data != "" {
				err = makeMessage(&q, data)
			}
			if err != nil {
				return err
			}
			return a.finish(a.explain(&f, q), false)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&pasid, "pasid", "", "PASID of the request `N`; without it the request has none")
	cmd.Flags().StringVar(&data, "data", "", "the request is an interrupt message with data `N`")
	a.jsonFlag(cmd)
	return cmd
}

// explainRequest makes the request of the arguments SID, IOVA, ACCESS.
func explainRequest(args []string, pasid string) (q emu.Request, err error) {
	sid, err := parseSID(args[0])
	if err != nil {
		return q, fmt.Errorf("SID: %w", err)
	}
	iova, err := parseAddr(args[1])
	if err != nil {
		return q, fmt.Errorf("IOVA: %w", err)
	}
	access, err := parseAccess(args[2])
	if err != nil {
		return q, fmt.Errorf("ACCESS: %w", err)
	}
	p, err := parsePASID(pasid)
	if err != nil {
		return q, fmt.Errorf("--pasid: %w", err)
	}
	return makeRequest(sid, p, iova, access), nil
}

// makeMessage makes q the write of 4 bytes that an interrupt message is.
func makeMessage(q *emu.Request, data string) error {
	v, err := strconv.ParseUint(data, 0, 32)
	if err != nil {
		return fmt.Errorf("--data: %q, want a number of 32 bits", data)
	}
	q.Access, q.Len, q.Data = emu.Write, 4, uint32(v)
	return nil
}

func (a *app) explain(f *snapFlags, q emu.Request) error {
	s, err := a.loadUnit(f)
	if err != nil {
		return err
	}
	ex := explainer{s: s, out: explanation{Schema: "iommulab.explain/1", IOMMU: s.arch.name, Steps: []explainStep{}}}
	fn := emu.NewFunctional(s.unit, s.mem)
	fn.Trace = ex.trace
	var r emu.Result
	fn.Translate(&q, &r)
	ex.end(&q, &r)
	return a.output(&ex.out, func(w io.Writer) error { return ex.out.print(w, &q) })
}

// explainer collects the steps of a request.
type explainer struct {
	s    *snap
	out  explanation
	base emu.PA // of the structure that is being fetched
}

// Names of the contract, for people.
var (
	opNames = map[emu.Op]string{
		emu.OpFetch: "fetch", emu.OpStore: "store", emu.OpCAS: "cas", emu.OpAtomicOr: "or", emu.OpProbe: "probe",
		emu.OpFill: "fill", emu.OpInvalidate: "invalidate", emu.OpDrain: "drain", emu.OpSend: "send", emu.OpHold: "hold", emu.OpResume: "resume", emu.OpOverlap: "overlap",
	}
	cacheNames = [emu.NumCaches]string{
		"device entries", "PASID entries", "IOTLB", "paging structures", "paging structures, second stage",
		"second-stage translations", "interrupt entries",
	}
)

// trace takes one question after it was answered. Resources and delays are the timed executor's
// business and are left out.
func (x *explainer) trace(t *emu.Txn) {
	a := &t.Act
	name, ok := opNames[a.Op]
	if !ok {
		return
	}
	info := x.s.unit.Describe(a.Step)
	st := explainStep{Op: name, Name: info.Name, Clause: info.Clause, Answer: "ok"}
	switch t.Ans {
	case emu.AnsMiss:
		st.Answer = "miss"
	case emu.AnsError:
		st.Answer = "bus error"
	}
	switch a.Op {
	case emu.OpProbe:
		st.Cache = cacheNames[a.Cache]
		if t.Ans == emu.AnsOK {
			st.Answer = "hit"
		}
	case emu.OpFill:
		st.Cache = cacheNames[a.Cache]
	case emu.OpFetch:
		st.Address, st.Bytes = hexOf(uint64(a.Addr)), a.Size
		if t.Ans == emu.AnsOK {
			x.fetched(&st, t)
		}
	case emu.OpStore, emu.OpCAS, emu.OpAtomicOr:
		st.Address, st.Bytes = hexOf(uint64(a.Addr)), a.Size
	case emu.OpSend:
		st.Address, st.Bytes = hexOf(uint64(a.Addr)), 4
	}
	x.out.Steps = append(x.out.Steps, st)
}

// fetched shows what was read.
func (x *explainer) fetched(st *explainStep, t *emu.Txn) {
	a := &t.Act
	if !x.s.core.Covers(a.Addr) {
		st.Answer = "ok, but the snapshot does not have this memory: read as 0"
	}
	n := max(int(a.Size)/8, 1)
	for _, w := range t.In[:n] {
		st.Words = append(st.Words, hexWord(w, int(a.Size)))
	}
	if !a.Follow {
		x.base = a.Addr
	}
	got := t.In
	l := x.s.arch.layoutOf(x.s.unit, t, got[:n])
	off := uint64(a.Addr - x.base)
	if l == nil || off >= uint64(l.Bits)/8 {
		return
	}
	st.Struct = l.Name
	words := make([]uint64, l.Words())
	copy(words[off/8:], got[:n])
	st.Fields = brief(l, words, uint16(off*8), uint16(off*8)+uint16(a.Size)*8-1)
}

// end takes the outcome.
func (x *explainer) end(q *emu.Request, r *emu.Result) {
	x.out.Outcome = report.Translation{
		SID: showSID(q.Source), PASID: showPASID(q.PASID), IOVA: hexOf(uint64(q.Addr)), Access: q.Access.String(),
	}
	fill(&x.out.Outcome, x.s.unit, r)
	if r.Status != emu.Blocked {
		return
	}
	info := x.s.unit.Describe(r.Fault.Step)
	x.out.Step, x.out.Clause = info.Name, info.Clause
	if r.Fault.At != 0 {
		x.out.At = hexOf(uint64(r.Fault.At))
	}
	switch {
	case r.Fault.Quiet:
		x.out.Note = "not recorded, by rule"
	case r.Fault.Dropped:
		x.out.Note = "not recorded: the log is full"
	}
}

func (e *explanation) print(w io.Writer, q *emu.Request) error {
	var b strings.Builder
	o := &e.Outcome
	pasid := "no PASID"
	if o.PASID != "" {
		pasid = "PASID " + o.PASID
	}
	fmt.Fprintf(&b, "request: %s (%s), %s, iova %s, %s, %d bytes\n", o.SID, showPCI(q.Source), pasid, o.IOVA, o.Access, q.Len)
	for i, s := range e.Steps {
		what := s.Cache
		if s.Address != "" {
			what = fmt.Sprintf("%s, %d bytes", s.Address, s.Bytes)
		}
		fmt.Fprintf(&b, "%3d. %-5s %s: %s", i+1, s.Op, what, s.Answer)
		fmt.Fprintf(&b, "%s[%s, %s]\n", pad(what+s.Answer, 46), s.Name, s.Clause)
		if s.Fields != "" {
			fmt.Fprintf(&b, "     %s: %s\n", s.Struct, s.Fields)
		} else if len(s.Words) > 0 {
			fmt.Fprintf(&b, "     %s\n", strings.Join(s.Words, " "))
		}
	}
	switch o.Result {
	case "fault":
		fmt.Fprintf(&b, "fault %s: %s", o.FaultCode, o.Fault)
		if e.At != "" {
			fmt.Fprintf(&b, ", raised by the entry at %s", e.At)
		}
		if e.Note != "" {
			fmt.Fprintf(&b, ", %s", e.Note)
		}
		fmt.Fprintf(&b, "%s[%s, %s]\n", "  ", e.Step, e.Clause)
	case "ok":
		page := "pass-through"
		if o.PageSize != "" {
			page = "page of " + o.PageSize + " bytes"
		}
		fmt.Fprintf(&b, "ok: pa %s, rights %s, %s", o.PA, o.Perm, page)
		if o.Memory != "" {
			fmt.Fprintf(&b, ", %s", o.Memory)
		}
		b.WriteByte('\n')
	case "interrupt":
		fmt.Fprintf(&b, "interrupt: address %s, data %s\n", o.PA, o.Data)
	default:
		fmt.Fprintf(&b, "%s: %s\n", o.Result, o.PA)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
