package replay

import (
	"errors"
	"io"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/report"
	"github.com/iommulab/iommulab/traces"
)

// result is the cell's row of the report.
func (c *cell) result() *report.Run {
	n := &c.count
	u := c.m.UnitStats(c.unit)
	r := &report.Run{
		IOMMU: c.spec.arch.name, Mode: c.mode.name, Scenario: "replace",
		Writer: c.spec.writer.Name(), To: string(c.spec.to), Preset: c.pre.Name, Seed: c.opt.Seed,
		Requests: n.Requests, Translated: n.Translated, Faulted: n.Faulted, Wrong: n.Wrong,
		TornReads: n.TornReads, Stale: n.Stale, NotApplicable: n.NotApplicable, MaxStallCycles: u.MaxStall,
		Rewrites: report.Rewrites{
			Count: n.Rewrites.Count, Nop: n.Rewrites.Nop, Hitless: n.Rewrites.Hitless, Disruptive: n.Rewrites.Disruptive,
			Stores: n.Rewrites.Stores, Invalidations: n.Rewrites.Invalidations, Waits: n.Rewrites.Waits,
			WindowCyclesMax: n.Rewrites.WindowMax,
		},
		Walks:  report.Walks{Count: u.Walks, MemoryReads: u.MemoryReads, Merged: u.Merged},
		Cycles: c.cpu.Now(),
	}
	r.Late = n.Late
	for _, e := range c.engineList {
		r.Repeated += e.feed.count
	}
	ns := c.pre.SimNS
	at := func(q float64) float64 { return ns(uint64(c.hist.ValueAtQuantile(q))) }
	r.Latency = report.Latency{
		P50: at(50), P90: at(90), P99: at(99), P999: at(99.9), Max: ns(c.latMax),
		Mean: ratio(ns(c.latSum), n.Requests),
	}
	t := u.Cache[emu.CacheIOTLB]
	r.IOTLB = report.CacheUse{Lookups: t.Lookups, Hits: t.Hits, Evictions: t.Evictions, Invalidated: t.Invalidated}
	p := u.Cache[emu.CachePASID]
	r.PASIDCache = report.EntryCache{Lookups: p.Lookups, Hits: p.Hits, Evictions: p.Evictions}
	return r
}

// describe reads a trace once, to name it in the report and to count its accesses.
func describe(in *Input) (report.Trace, uint64, error) {
	d := report.Trace{Name: in.Name, SHA256: in.SHA256}
	src, closer, err := in.Open()
	if err != nil {
		return d, 0, err
	}
	defer closer.Close()
	accesses := uint64(0)
	devices := map[emu.SourceID]struct{}{}
	var buf [1024]traces.Event
	for {
		n, err := src.Read(buf[:])
		d.Events += uint64(n)
		for i := range n {
			if e := &buf[i]; e.Kind.IsDMA() {
				accesses++
				d.Bytes += e.Len
				devices[e.SID] = struct{}{}
			}
		}
		if errors.Is(err, io.EOF) {
			d.Devices = len(devices)
			return d, accesses, nil
		}
		if err != nil {
			return d, 0, err
		}
	}
}
