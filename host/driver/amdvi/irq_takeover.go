package amdvi

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// lg2 is log2 of the block of memory that n bytes are in.
func lg2(n int) uint8 { return max(uint8(bits.Len(uint(n-1))), emu.PageShift) }

// takeIRQs takes over interrupt tables: devices go on sending the messages that they were given. The format of
// the entries stays what it is. Each entry becomes a block of its own, named by its index.
func (d *Driver) takeIRQs() error {
	if d.irqs != nil {
		d.irqs.size, d.irqs.xt = spec.IRTESize32, spec.CtlXTEn.On(d.ctl)
		if spec.CtlGAEn.On(d.ctl) {
			d.irqs.size = spec.IRTESize128
		}
		if spec.CtlNumIntRemapMode.Of(d.ctl) != spec.NumIntRemap2048 {
			d.irqs.n = min(d.irqs.n, 512)
		}
	}
	for sid, e := range d.fixed {
		if !e.IV() || spec.DteIntCtl.Get(e[:]) != spec.IntCtlRemap {
			continue
		}
		if d.irqs == nil {
			return fmt.Errorf("amdvi: unit %d: interrupts of %#04x are remapped, and Options.IRQ is not: %w", d.opt.Unit, uint32(sid), ErrTakeOver)
		}
		n := 1 << spec.DteIntTabLen.Get(e[:])
		t := &irqTable{
			base: e.IRTRoot(), slots: driver.NewSlots(n), blocks: make(map[int]*irqBlock), lent: true,
			names: append([]emu.SourceID{sid}, d.opt.Firmware[sid].Aliases...),
		}
		for i := range n {
			if w := d.k.CPU.Load64((t.base + emu.PA(i*d.irqs.size)) &^ 7); w>>(i*d.irqs.size%8*8)&1 != 0 {
				t.slots.Mark(i, 1)
				t.blocks[i] = &irqBlock{n: 1, inherited: true}
			}
		}
		d.irqs.tables[sid] = t
	}
	return nil
}

// irqTables returns the tables by device, in ascending order.
func (d *Driver) irqTables() (list []*irqTable) {
	if d.irqs != nil {
		for _, sid := range slices.Sorted(maps.Keys(d.irqs.tables)) {
			list = append(list, d.irqs.tables[sid])
		}
	}
	return list
}

// InheritedIRQs returns the interrupts that an earlier system has left and that Finish would block, in
// ascending order. Their names are the DeviceID and the index of their entries.
func (d *Driver) InheritedIRQs() []host.IRQ {
	var list []host.IRQ
	for _, t := range d.irqTables() {
		for i, b := range t.blocks {
			if b.inherited {
				list = append(list, d.irqName(t.names[0], i))
			}
		}
	}
	slices.Sort(list)
	return list
}

// blockIRQs clears what nobody has claimed.
func (d *Driver) blockIRQs() error {
	var ops []op
	list := d.InheritedIRQs()
	for _, q := range list {
		t, _, first, err := d.block(q, 0)
		if err != nil {
			return err
		}
		d.putIRTE(t, first, irte{})
		for _, name := range t.names {
			ops = add(ops, interruptTable(name))
		}
	}
	d.k.CPU.Fence()
	if err := d.invalidate(entry.OneWait, ops...); err != nil {
		return err
	}
	for _, q := range list {
		t, b, first, _ := d.block(q, 0)
		delete(t.blocks, first)
		t.slots.Put(first, b.n)
	}
	return nil
}
