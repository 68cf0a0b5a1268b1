package vtd

import (
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// copyIRTEs copies the interrupt entries of an earlier system: devices go on sending the messages that
// they were given. Each becomes a block of its own, named by its index.
func (d *Driver) copyIRTEs(t *irqTable) error {
	irta := d.k.Read(spec.OffIRTA, 8)
	fail := func(what string, v int) error {
		return fmt.Errorf("vtd: unit %d: interrupt table: %s %d: %w", d.opt.Unit, what, v, ErrTakeOver)
	}
	old := spec.IrtaEIME.On(irta)
	if old && !t.extended {
		return fail("extended mode", 1)
	}
	t.extended = old
	from := emu.PA(irta & spec.IrtaIRTA.Mask())
	const who = uint64(0xfffff) // SID, SQ, SVT
	for i := range 2 << spec.IrtaS.Of(irta) {
		at := from + emu.PA(i)*spec.IRTESize
		e := irte{d.k.CPU.Load64(at), d.k.CPU.Load64(at + 8)}
		if !spec.IrteP.On(e[0]) {
			continue
		}
		if i >= t.slots.Len() {
			return fail("has an entry", i)
		}
		d.k.CPU.Store128(t.base+emu.PA(i)*spec.IRTESize, e[0], e[1])
		t.slots.Mark(i, 1)
		t.blocks[host.IRQ(i)] = &irqBlock{source: e[1] & who, n: 1, inherited: true}
	}
	d.k.Flush(t.base, t.slots.Len()*spec.IRTESize)
	d.k.CPU.Fence()
	return nil
}

// InheritedIRQs returns the interrupts that an earlier system has left and that Finish would block, in
// ascending order. Their names are the indices of their entries.
func (d *Driver) InheritedIRQs() []host.IRQ {
	var list []host.IRQ
	if d.irq != nil {
		for q, b := range d.irq.blocks {
			if b.inherited {
				list = append(list, q)
			}
		}
	}
	slices.Sort(list)
	return list
}

// BlockRest clears what nobody has claimed.
func (d arch) BlockRest() error {
	list := d.InheritedIRQs()
	if len(list) == 0 {
		return nil
	}
	for _, q := range list {
		d.putIRTE(int(q), irte{})
	}
	if err := d.invalidate(entry.OneWait, interruptGlobal()); err != nil {
		return err
	}
	for _, q := range list {
		delete(d.irq.blocks, q)
		d.irq.slots.Put(int(q), 1)
	}
	return nil
}
