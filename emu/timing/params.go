package timing

import (
	"fmt"
	"slices"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// Params are the latencies and widths of the model, in cycles of the IOMMU clock unless the field
// says otherwise. Presets give values with their sources; docs/timing.md repeats them as a table.
type Params struct {
	ClockMHz uint64 `toml:"clock_mhz"` // frequency of the IOMMU clock, MHz

	Link          uint64     `toml:"link_cycles"`          // device to unit, one way; the answer takes the same
	Ingress       uint64     `toml:"ingress_cycles"`       // between two requests entering the pipeline
	Lookup        uint64     `toml:"lookup_cycles"`        // pipeline entry to the tag read of the fused look-up
	Probe         uint64     `toml:"probe_cycles"`         // one cache probe on the miss path
	Fill          uint64     `toml:"fill_cycles"`          // one cache fill
	Walkers       int        `toml:"walkers"`              // walks and entry fetches at one time, count
	MissRegisters int        `toml:"miss_registers"`       // outstanding misses per cache, count
	Mem           uint64     `toml:"mem_cycles"`           // one memory access of the unit, to its data
	MemInterval   uint64     `toml:"mem_interval_cycles"`  // between two memory accesses of the unit
	Follow        uint64     `toml:"follow_cycles"`        // a further part of a structure just read
	Data          uint64     `toml:"data_cycles"`          // the DMA's own memory access, to global visibility
	Command       uint64     `toml:"command_cycles"`       // a control-register command
	Queue         uint64     `toml:"queue_cycles"`         // decoding one queue entry
	Fault         uint64     `toml:"fault_cycles"`         // writing one fault record
	Step          uint64     `toml:"step_cycles"`          // one step of internal logic
	Invalidate    uint64     `toml:"invalidate_cycles"`    // an invalidation occupies the tag port
	MSI           uint64     `toml:"msi_cycles"`           // interrupt message to the processor
	ATSRound      uint64     `toml:"ats_round_cycles"`     // ATS invalidation request and its completion
	ATSTimeout    uint64     `toml:"ats_timeout_cycles"`   // an ATS invalidation that is not completed
	MaxPayload    uint32     `toml:"max_payload_bytes"`    // largest write request, bytes
	MaxRead       uint32     `toml:"max_read_bytes"`       // largest read request, bytes
	UnknownLength uint32     `toml:"unknown_length_bytes"` // what an access of unknown length counts as, bytes
	Host          HostParams `toml:"host"`
}

// HostParams are the costs of the processors, in cycles of the IOMMU clock.
type HostParams struct {
	Store       uint64     `toml:"store_cycles"`          // issue of one store
	Drain       uint64     `toml:"drain_cycles"`          // issue to global visibility
	Order       StoreOrder `toml:"store_order"`           // in which stores become visible between fences
	DrainSpread uint64     `toml:"drain_spread_cycles"`   // weak order: extra cycles until visible, random below this
	Buffer      int        `toml:"store_buffer"`          // stores waiting to become visible, count
	Load        uint64     `toml:"load_cycles"`           // one load
	Locked      uint64     `toml:"locked_cycles"`         // one locked operation, buffer drained before
	ReadReg     uint64     `toml:"read_register_cycles"`  // non-posted register read, round trip
	WriteReg    uint64     `toml:"write_register_cycles"` // posted register write, to its arrival
	WriteIssue  uint64     `toml:"write_issue_cycles"`    // posted register write, cost to the processor
	Poll        uint64     `toml:"poll_cycles"`           // between two evaluations in Poll
	FlushLine   uint64     `toml:"flush_line_cycles"`     // writing one 64-byte cache line back
	ZeroLine    uint64     `toml:"zero_line_cycles"`      // clearing one 64-byte cache line
	IRQ         uint64     `toml:"irq_cycles"`            // entry and exit of an interrupt handler
	Gap         uint64     `toml:"gap_cycles"`            // between two stores of a program
	SplitPerMil uint64     `toml:"split_per_mille"`       // chance that an interrupt falls before a store while CPU.Splits is on, 1/1000
	Split       uint64     `toml:"split_cycles"`          // how long that interrupt takes
}

// delay returns the cycles of a delay class.
func (p *Params) delay(d emu.DelayClass) uint64 {
	switch d {
	case emu.DelayCommand:
		return p.Command
	case emu.DelayQueue:
		return p.Queue
	case emu.DelayFault:
		return p.Fault
	}
	return p.Step
}

// SimNS converts cycles of the IOMMU clock to simulated nanoseconds.
func (p *Params) SimNS(cycles uint64) float64 { return float64(cycles) * 1000 / float64(p.ClockMHz) }

// CyclesOfNS converts simulated nanoseconds to cycles of the IOMMU clock, rounded down.
func (p *Params) CyclesOfNS(ns uint64) uint64 {
	return ns/1000*p.ClockMHz + ns%1000*p.ClockMHz/1000
}

// StoreOrder is the order in which the stores of a processor become visible between two fences. Stores
// to one place stay in order in any case.
type StoreOrder uint8

// The orders.
const (
	TotalOrder StoreOrder = iota // that of the program
	WeakOrder                    // any; which one the processor's random stream decides
)

var storeOrders = [...]string{"total", "weak"}

// String returns the order as presets write it.
func (o StoreOrder) String() string { return storeOrders[o%2] }

// MarshalText returns the order as presets write it.
func (o StoreOrder) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText writes.
//
// Errors: the text is neither.
func (o *StoreOrder) UnmarshalText(text []byte) error {
	i := slices.Index(storeOrders[:], string(text))
	if i < 0 {
		return fmt.Errorf("store order %q: want one of %s", text, strings.Join(storeOrders[:], ", "))
	}
	*o = StoreOrder(i)
	return nil
}
