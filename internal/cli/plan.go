package cli

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/hitless/lab"
	hostentry "github.com/iommulab/iommulab/host/entry"
	"github.com/iommulab/iommulab/report"
)

// planFlags are the flags of plan.
type planFlags struct {
	iommu, kind, from, to, writer string
	explain, verify               bool
	opt                           lab.Options
	pte                           pteFlags
}

func (a *app) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan --iommu NAME --kind KIND --from HEX --to HEX",
		Short: "Lay out how one raw entry becomes another under DMA",
		Long: `plan lays out the stores, invalidations and waits by which software rewrites an entry, and says
whether some request sees neither the old entry nor the new one. Entries are given as bytes in the
order in which they lie in memory, as in decode.

What it rests on is part of the answer, and flags change it: what is stored and read at once, which
ids are free or this entry's alone, whether the device holds translations itself (ATS). --verify
carries the rewrite out on the model and tries every way in which a request's loads can fall
against the stores, with every copy that a cache can still hold. Below the entries it puts tables
of its own: each pointer leads to pages of its own.

An entry that the architecture calls illegal is refused; --force takes it, and with --verify the
fault that hardware raises is shown. Exit code 1: the verification does not find what the plan says.

` + planKindsHelp(),
		Example: "  iommulab plan --iommu vtd --kind context --from 01003903000000000201000000000000 --to 01004003000000000202000000000000\n" +
			"  iommulab plan --iommu smmuv3 --kind cd-l1 --from 0100000e00000000 --to 0100100e00000000 --explain --verify",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := f.check(cmd)
			if err != nil {
				return err
			}
			return a.finish(a.plan(&f, k), false)
		},
	}
	s := cmd.Flags()
	s.StringVar(&f.iommu, "iommu", "vtd", "architecture: "+known(planIOMMUs()))
	s.StringVar(&f.kind, "kind", "", "kind of entry")
	s.StringVar(&f.from, "from", "", "what the entry holds: `HEX`")
	s.StringVar(&f.to, "to", "", "what it is to hold: `HEX`")
	s.StringVar(&f.writer, "writer", "hitless", "who rewrites it: "+known(writerNames()))
	s.BoolVar(&f.explain, "explain", false, "say what each step is good for")
	s.BoolVar(&f.verify, "verify", false, "explore the rewrite on the model")
	s.IntVar(&f.opt.Unit, "atomic", 0, "`BYTES` that are stored and read at once: 8 or 16; 0 is what the architecture promises")
	s.BoolVar(&f.opt.Force, "force", false, "take entries that the architecture calls illegal")
	s.Uint32Var(&f.opt.Means.Temp, "temp-id", 0, "a free `ID` (domain id, VMID, ASID) to go by; 0: none")
	s.BoolVar(&f.opt.Means.OldAlone, "old-id-alone", false, "no other entry has the old id")
	s.BoolVar(&f.opt.Means.NewAlone, "new-id-alone", false, "no other entry has the new id")
	s.BoolVar(&f.opt.ATS, "ats", false, "the device holds translations itself")
	s.IntVar(&f.opt.Aliases, "aliases", 0, "further requester ids of the device, whose entries change as well: `N`")
	s.BoolVar(&f.opt.NoFWB, "no-fwb", false, "SMMUv3 without forced write-back (IDR3.FWB=0)")
	s.BoolVar(&f.opt.Stall, "stall", false, "SMMUv3 that may stall transactions (IDR0.STALL_MODEL=0)")
	f.pte.add(cmd)
	complete(cmd, "iommu", planIOMMUs()...)
	complete(cmd, "kind", planKinds("")...)
	complete(cmd, "writer", writerNames()...)
	a.jsonFlag(cmd)
	return cmd
}

// check finds the kind, and what is wrong with the flags.
func (f *planFlags) check(cmd *cobra.Command) (*lab.Kind, error) {
	if err := oneOf(cmd, "--iommu", f.iommu, planIOMMUs()); err != nil {
		return nil, err
	}
	if err := oneOf(cmd, "--writer", f.writer, writerNames()); err != nil {
		return nil, err
	}
	if f.opt.Unit != 0 && f.opt.Unit != 8 && f.opt.Unit != 16 {
		return nil, usageError(cmd, "--atomic: %d, want 8 or 16", f.opt.Unit)
	}
	if f.opt.Aliases < 0 || f.opt.Aliases > maxAliases {
		return nil, usageError(cmd, "--aliases: %d, want 0 to %d", f.opt.Aliases, maxAliases)
	}
	if err := f.pte.check(cmd, f.kind, &f.opt); err != nil {
		return nil, err
	}
	k, ok := lab.Find(f.iommu, f.kind, f.pte.stage)
	if !ok {
		return nil, usageError(cmd, "--kind: %q, want %s", f.kind, known(planKinds(f.iommu)))
	}
	for _, e := range []struct{ name, text string }{{"--from", f.from}, {"--to", f.to}} {
		if e.text == "" {
			return nil, usageError(cmd, "%s is missing", e.name)
		}
	}
	if err := k.CheckOptions(&f.opt); err != nil {
		return nil, usageError(cmd, "%v", err)
	}
	return k, nil
}

// maxAliases is how many functions a PCI device has besides one.
const maxAliases = 7

// planIOMMUs are the architectures that have kinds.
func planIOMMUs() (names []string) {
	for _, k := range lab.Kinds() {
		if len(names) == 0 || names[len(names)-1] != k.IOMMU {
			names = append(names, k.IOMMU)
		}
	}
	return names
}

// planKinds are the kinds of an architecture, or of all.
func planKinds(iommu string) (names []string) {
	for _, k := range lab.Kinds() {
		if (iommu == "" || k.IOMMU == iommu) && !slices.Contains(names, k.Name) {
			names = append(names, k.Name)
		}
	}
	return names
}

func planKindsHelp() string {
	var lines []string
	for _, i := range planIOMMUs() {
		lines = append(lines, "Kinds of "+i+": "+known(planKinds(i))+".")
	}
	return strings.Join(lines, "\n")
}

// parseEntry reads an entry of a kind.
func parseEntry(place, text string, k *lab.Kind, o *lab.Options) ([]uint64, error) {
	raw, err := parseBytes(place, text)
	if err != nil {
		return nil, err
	}
	if len(raw) != k.Words*8 {
		return nil, fmt.Errorf("%s: %d bytes, want %d (%s %s)", place, len(raw), k.Words*8, k.IOMMU, k.Name)
	}
	words := make([]uint64, k.Words)
	for i := range words {
		words[i] = binary.LittleEndian.Uint64(raw[i*8:])
	}
	if err := k.Check(o, words); err != nil {
		return nil, fmt.Errorf("%s: %w (--force takes it)", place, err)
	}
	return words, nil
}

func (a *app) plan(f *planFlags, k *lab.Kind) error {
	old, err := parseEntry("--from", f.from, k, &f.opt)
	if err != nil {
		return err
	}
	new, err := parseEntry("--to", f.to, k, &f.opt)
	if err != nil {
		return err
	}
	w, _ := hostentry.WriterByName(f.writer)
	p, err := k.Plan(&f.opt, w, old, new)
	if err != nil {
		return err
	}
	r := planDocument(f, k, p)
	strict := f.opt
	strict.Force = false
	for _, e := range []struct {
		name string
		raw  []uint64
	}{{"--from", old}, {"--to", new}} {
		if err := k.Check(&strict, e.raw); err != nil {
			r.Illegal = append(r.Illegal, fmt.Sprintf("%s: %v", e.name, err))
		}
	}
	agrees := true
	if f.verify {
		v, err := k.Explore(&f.opt, w, old, new)
		if err != nil {
			return fmt.Errorf("--verify: %w", err)
		}
		agrees = v.Agrees()
		r.Verified = &report.Verification{Verdict: v.Found, Transparent: v.Transparent, States: v.States, Counterexample: v.Counterexample, From: v.From, To: v.To}
	}
	if err := a.output(r, func(w io.Writer) error { return printPlan(w, r) }); err != nil {
		return err
	}
	if !agrees {
		return errCheck
	}
	return nil
}

// planDocument makes the result.
func planDocument(f *planFlags, k *lab.Kind, p *lab.Plan) *report.Plan {
	r := report.NewPlan()
	r.IOMMU, r.Kind, r.Variant, r.Writer = k.IOMMU, k.Name, k.Title(&f.opt), p.Writer
	r.Verdict, r.Transparent, r.Reason, r.Syncs = p.Verdict.String(), p.Transparent, p.Reason, p.Syncs
	r.Assumes = k.Assumes(&f.opt)
	for i := range p.Steps {
		s := &p.Steps[i]
		out := report.PlanStep{Op: s.Op, What: s.What, Fence: s.Fence, Swap: s.Swap}
		if s.Op == lab.OpStore {
			out.Offset, out.Size = &s.Offset, s.Size
			out.Value = fmt.Sprintf("0x%016x", s.Value[0])
			if s.Size == 16 {
				out.Value = fmt.Sprintf("0x%016x%016x", s.Value[1], s.Value[0])
			}
		}
		if f.explain {
			out.Why = s.Why
		}
		r.Steps, r.States = append(r.Steps, out), append(r.States, lab.Hex(s.State))
	}
	return r
}

// printPlan writes a plan for people.
func printPlan(w io.Writer, r *report.Plan) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s by %s: %s", strings.Join(strings.Fields(r.IOMMU+" "+r.Kind+" "+r.Variant), " "), r.Writer, r.Verdict)
	if r.Reason != "" {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	b.WriteString("\n")
	for _, s := range r.Illegal {
		fmt.Fprintf(&b, "%s\n", s)
	}
	for i, s := range r.Steps {
		fence := ""
		if s.Fence {
			fence = "fence; "
		}
		switch s.Op {
		case lab.OpStore:
			if s.Swap {
				fmt.Fprintf(&b, "%3d  %scompare and swap %d bytes at +%#02x: %s", i+1, fence, s.Size, *s.Offset, s.Value)
				break
			}
			fmt.Fprintf(&b, "%3d  %sstore %d bytes at +%#02x: %s", i+1, fence, s.Size, *s.Offset, s.Value)
		case lab.OpInvalidate:
			fmt.Fprintf(&b, "%3d  invalidate %s", i+1, s.What)
		default:
			fmt.Fprintf(&b, "%3d  %s", i+1, s.Op)
		}
		b.WriteString("\n")
		if s.Why != "" {
			fmt.Fprintf(&b, "       %s\n", s.Why)
		}
	}
	fmt.Fprintf(&b, "%d synchronisations of the entry\n", r.Syncs)
	for _, s := range r.Assumes {
		fmt.Fprintf(&b, "assumes: %s\n", s)
	}
	if v := r.Verified; v != nil {
		fmt.Fprintf(&b, "under the old entry a request %s, under the new one it %s\nexplored %d states: %s\n%s", v.From, v.To, v.States, v.Verdict, v.Counterexample)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
