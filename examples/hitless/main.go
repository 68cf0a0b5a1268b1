// Command hitless explores two ways to rewrite a VT-d context entry under running DMA: two 8-byte
// stores, and one 16-byte store. It prints an interleaving that breaks the first.
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/hitless"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
)

const (
	device = emu.SourceID(0x10)
	iova   = emu.IOVA(0x4000)
)

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer) error {
	unit, err := vtd.New(vtd.DefaultConfig())
	if err != nil {
		return err
	}
	memory := mem.New()
	cpu := emu.NewFunctional(unit, memory)
	frames, err := host.NewFrames(cpu, 1<<32, 1<<28)
	if err != nil {
		return err
	}
	d, err := vtddriver.New(cpu, frames, vtddriver.Options{Mode: vtddriver.ModeLegacy, HAW: 48})
	if err != nil {
		return err
	}
	// Two domains that map one address to different pages, and the entry that the driver writes for each.
	var entry [2][]uint64
	var at emu.PA
	var id [2]uint32
	for i, pa := range []emu.PA{0x20_0000, 0x10_0000} { // new first: the device ends up in the old one
		dom, err := d.NewDomain(host.DomainSpec{})
		if err == nil {
			err = dom.Map(iova, pa, emu.PageSize, emu.RW)
		}
		if err == nil && i > 0 {
			err = d.Detach(device, emu.NoPASID)
		}
		if err == nil {
			err = d.Attach(device, emu.NoPASID, dom)
		}
		if err != nil {
			return err
		}
		at, entry[i] = d.EntryAt(device, emu.NoPASID)
		id[i] = dom.ID()
	}
	if err := d.Enable(); err != nil {
		return err
	}
	next, oldID := entry[0], id[1]
	flush := []hitless.Step{
		hitless.Sync("context cache, device", emu.Selector{Caches: emu.CacheEntry.Set(), Match: emu.MatchSource, Source: device}),
		hitless.Sync("IOTLB, old domain", emu.Selector{Caches: emu.CacheIOTLB.Set() | emu.CacheWalk.Set(), Match: emu.MatchDomain, Domain: oldID}),
	}
	one := []hitless.Step{hitless.Store128("whole entry", at, next[0], next[1])}
	two := []hitless.Step{hitless.Store64("low half", at, next[0]), hitless.Store64("high half", at+8, next[1])}
	for _, stores := range [][]hitless.Step{one, two} {
		sc := hitless.Scenario{
			Unit: unit, Memory: memory, Program: append(slices.Clip(stores), flush...),
			Request: emu.Request{Addr: iova, Source: device, PASID: emu.NoPASID, Len: 8, Access: emu.Read},
		}
		rep, err := hitless.Explore(&sc)
		if err != nil {
			return err
		}
		// Torn: an entry that is neither the old nor the new one, which are all that is declared.
		torn := rep.Torn(at, entry[0], entry[1])
		fmt.Fprintf(w, "%d store(s): %d states, %d outcomes, %d neither old nor new, %d torn, %d stale\n",
			len(stores), rep.States, len(rep.All), len(rep.Outside()), len(torn), len(rep.Stale()))
		if len(torn) > 0 {
			fmt.Fprint(w, hitless.Timeline(&sc, &torn[0])) // the simplest comes first
			fmt.Fprintf(w, "the request ends at pa %#x\n", uint64(torn[0].PA))
		}
	}
	return nil
}
