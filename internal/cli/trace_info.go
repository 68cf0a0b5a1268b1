package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/traces"
)

// traceInfo is the document of trace info.
type traceInfo struct {
	Schema     string            `json:"schema"`
	Name       string            `json:"name"`
	FileBytes  int64             `json:"file_bytes"`
	SHA256     string            `json:"sha256"`
	Header     *traces.Header    `json:"header"`
	Events     uint64            `json:"events"`
	Kinds      map[string]uint64 `json:"kinds"`
	Accesses   uint64            `json:"accesses"`
	Bytes      uint64            `json:"bytes"`    // of accesses whose length was recorded
	Mapped     uint64            `json:"mapped"`   // accesses that the mappings of the trace allow
	Unmapped   uint64            `json:"unmapped"` // and that they do not
	DurationNS uint64            `json:"duration_sim_ns"`
	Devices    []deviceInfo      `json:"devices"`
	PASIDs     int               `json:"pasids"` // address spaces with a PASID
}

type deviceInfo struct {
	SID      string `json:"sid"`
	Accesses uint64 `json:"accesses"`
	Bytes    uint64 `json:"bytes"`
	Maps     uint64 `json:"maps"`
	Unmaps   uint64 `json:"unmaps"`
}

func (a *app) traceInfoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "info [TRACE]",
		Short: "Describe a trace: kinds of events, devices, duration",
		Long: `info reads a whole trace and counts. Without TRACE it reads the embedded one. Accesses count as mapped
if the map and unmap events before them allow them.`,
		Example: "  iommulab trace info\n  iommulab trace info --json - trace.iotrace",
		Args:    optionalTrace,
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.traceInfo(cmd.Context(), optional(args))
			return a.finish(err, errors.Is(err, context.Canceled))
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// optionalTrace allows one argument.
func optionalTrace(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usageError(cmd, "%q: want nothing more", args[1])
	}
	return nil
}

func (a *app) traceInfo(ctx context.Context, path string) error {
	in, err := a.openTrace(path)
	if err != nil {
		return err
	}
	defer in.close()
	x := traceInfo{
		Schema: "iommulab.trace_info/1", Name: in.name, FileBytes: in.bytes, SHA256: in.sum,
		Header: in.Header(), Kinds: make(map[string]uint64), Devices: []deviceInfo{},
	}
	if err := x.count(ctx, in, a.progress("events", 0)); err != nil {
		return err
	}
	a.tellAccesses(in.name, x.Kinds)
	return a.output(&x, x.print)
}

func (x *traceInfo) count(ctx context.Context, src traces.Source, p *progress) error {
	var state traces.Mappings
	devices := make(map[emu.SourceID]*deviceInfo)
	spaces := make(map[traces.Space]bool)
	for e, err := range traces.All(src) {
		if err != nil {
			return err
		}
		if x.Events%4096 == 0 {
			p.at(x.Events)
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		x.Events++
		x.Kinds[e.Kind.String()]++
		x.DurationNS = e.Time
		if e.PASID != emu.NoPASID {
			spaces[traces.Space{SID: e.SID, PASID: e.PASID}] = true
		}
		state.Apply(&e)
		if e.SID == traces.NoSID {
			continue
		}
		d := devices[e.SID]
		if d == nil {
			d = &deviceInfo{SID: showSID(e.SID)}
			devices[e.SID] = d
		}
		switch {
		case e.Kind.IsDMA():
			x.Accesses++
			x.Bytes += e.Len
			d.Accesses++
			d.Bytes += e.Len
			if state.Allows(&e) {
				x.Mapped++
			} else {
				x.Unmapped++
			}
		case e.Kind == traces.Map:
			d.Maps++
		case e.Kind == traces.Unmap:
			d.Unmaps++
		}
	}
	for _, sid := range slices.Sorted(maps.Keys(devices)) {
		x.Devices = append(x.Devices, *devices[sid])
	}
	x.PASIDs = len(spaces)
	p.end(x.Events)
	return nil
}

func (x *traceInfo) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d events in %d bytes, %.6f s\n", x.Name, x.Events, x.FileBytes, float64(x.DurationNS)/1e9)
	fmt.Fprintf(&b, "sha256 %s\n", x.SHA256)
	h := x.Header
	for _, l := range [][2]string{{"iommu", h.IOMMU}, {"source", h.Source}, {"clock", h.Clock}, {"start", h.Start}} {
		if l[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", l[0], l[1])
		}
	}
	if h.Synthetic {
		b.WriteString("synthetic: accesses were made up, at least in part\n")
	}
	for _, n := range h.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	fmt.Fprintf(&b, "accesses: %d, %d bytes, %d mapped, %d not\n", x.Accesses, x.Bytes, x.Mapped, x.Unmapped)
	if x.PASIDs > 0 {
		fmt.Fprintf(&b, "address spaces with a PASID: %d\n", x.PASIDs)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	g := newGrid(tabwriter.AlignRight)
	g.row("kind\tevents\t")
	for _, k := range slices.Sorted(maps.Keys(x.Kinds)) {
		g.row("%s\t%d\t", k, x.Kinds[k])
	}
	if err := g.writeTo(w); err != nil {
		return err
	}
	g = newGrid(tabwriter.AlignRight)
	g.row("device\taccesses\tbytes\tmaps\tunmaps\t")
	for _, d := range x.Devices {
		g.row("%s\t%d\t%d\t%d\t%d\t", d.SID, d.Accesses, d.Bytes, d.Maps, d.Unmaps)
	}
	return g.writeTo(w)
}
