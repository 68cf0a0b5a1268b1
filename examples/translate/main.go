// Command translate uses the lab as a library: it brings a VT-d unit up through its driver, maps a
// buffer for a device and translates addresses, on the functional executor (no time).
package main

import (
	"fmt"
	"io"
	"log"
	"os"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/host"
	vtddriver "github.com/iommulab/iommulab/host/driver/vtd"
)

const device = emu.SourceID(0x0100) // 01:00.0

func main() {
	if err := run(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func run(w io.Writer) error {
	// The hardware: a unit, its memory, and the executor that drives both.
	unit, err := vtd.New(vtd.DefaultConfig())
	if err != nil {
		return err
	}
	machine := emu.NewFunctional(unit, mem.New())

	// The software: page frames for its tables, a driver on the processor of that machine.
	frames, err := host.NewFrames(machine, 1<<32, 1<<28)
	if err != nil {
		return err
	}
	driver, err := vtddriver.New(machine, frames, vtddriver.Options{Mode: vtddriver.ModeScalable, HAW: 48})
	if err != nil {
		return err
	}
	domain, err := driver.NewDomain(host.DomainSpec{})
	if err != nil {
		return err
	}
	if err := domain.Map(0x10000, 0x8000_0000, 64<<10, emu.RW); err != nil {
		return err
	}
	if err := domain.Map(0x20000, 0x9000_0000, 4<<10, emu.Read); err != nil {
		return err
	}
	if err := driver.Attach(device, emu.NoPASID, domain); err != nil {
		return err
	}
	if err := driver.Enable(); err != nil {
		return err
	}

	// DMA.
	for _, q := range []emu.Request{
		{Addr: 0x10040, Access: emu.Read},
		{Addr: 0x1f000, Access: emu.Write},
		{Addr: 0x20000, Access: emu.Read},
		{Addr: 0x20000, Access: emu.Write},
		{Addr: 0x30000, Access: emu.Read},
	} {
		q.Source, q.PASID, q.Len = device, emu.NoPASID, 64
		var r emu.Result
		machine.Translate(&q, &r)
		if r.Status != emu.OK {
			fmt.Fprintf(w, "%#x %v: fault %#x, %s\n", uint64(q.Addr), q.Access, r.Fault.Code, unit.FaultName(r.Fault.Code))
			continue
		}
		fmt.Fprintf(w, "%#x %v: pa %#x, rights %v\n", uint64(q.Addr), q.Access, uint64(r.PA), r.Perm)
	}
	stats := unit.Cache(emu.CacheIOTLB).Stats()
	fmt.Fprintf(w, "IOTLB: %d look-ups, %d hits\n", stats.Lookups, stats.Hits)
	return nil
}
