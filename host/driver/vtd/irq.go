package vtd

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// irqTable is the interrupt-remapping table (5.1, 9.9).
type irqTable struct {
	base     emu.PA
	extended bool // destinations of 32 bits (IRTA.EIME)
	slots    driver.Slots
	blocks   map[host.IRQ]*irqBlock
}

// irqBlock is a block of entries of one source.
type irqBlock struct {
	source    uint64 // SID, SQ and SVT of the entries
	n         int
	inherited bool // an earlier system's, that nobody has claimed
}

var _ host.IRQRemapper = (*Driver)(nil)

// makeIRQTable makes the table, with the entries of an earlier system that is taken over.
func (d *Driver) makeIRQTable() error {
	left := d.k.Heritage != nil && spec.GstsIRES.On(d.k.Read(spec.OffGSTS, 4))
	n := d.opt.IRQEntries
	switch {
	case left && !d.opt.IRQ:
		return fmt.Errorf("vtd: unit %d: interrupt remapping is on, and Options.IRQ is not: %w", d.opt.Unit, ErrTakeOver)
	case !d.opt.IRQ:
		return nil
	case !d.caps.has(spec.EcapIR) || d.queue == nil:
		return fmt.Errorf("vtd: unit %d: interrupt remapping: %w", d.opt.Unit, host.ErrUnsupported)
	case d.caps.has(spec.EcapEIMER) && d.opt.XAPIC:
		return fmt.Errorf("vtd: unit %d: 8-bit destinations where the unit requires extended mode: %w", d.opt.Unit, host.ErrUnsupported)
	case n < 2 || n > spec.MaxIRTEs || n&(n-1) != 0:
		return fmt.Errorf("vtd: unit %d: interrupt table of %d entries, want a power of two from 2 to %d: %w",
			d.opt.Unit, n, spec.MaxIRTEs, host.ErrUnsupported)
	}
	t := &irqTable{
		extended: d.caps.has(spec.EcapEIM) && !d.opt.XAPIC,
		slots:    driver.NewSlots(n), blocks: make(map[host.IRQ]*irqBlock),
	}
	var err error
	if t.base, err = d.k.Alloc(uint8(bits.Len(uint(n*spec.IRTESize - 1)))); err != nil {
		return err
	}
	if left {
		if err := d.copyIRTEs(t); err != nil {
			return err
		}
	}
	d.irq = t
	return nil
}

// startIRQ turns interrupt remapping on, with compatibility-format interrupts blocked (the sequence of
// Linux 7.3). If it is on, the table is exchanged and nothing else changes.
func (d *Driver) startIRQ() error {
	t := d.irq
	if t == nil {
		return nil
	}
	size := uint64(bits.Len(uint(t.slots.Len()))) - 2
	d.k.Write(spec.OffIRTA, 8, uint64(t.base)|spec.IrtaEIME.PutBool(t.extended)|spec.IrtaS.Put(size))
	if err := d.command("SIRTP", spec.GcmdSIRTP, true, spec.GstsIRTPS.On); err != nil {
		return err
	}
	if !spec.CapESIRTPS.On(d.caps.cap) {
		if err := d.invalidate(entry.OneWait, interruptGlobal()); err != nil {
			return err
		}
	}
	if err := d.level("IRE", spec.GcmdIRE, true); err != nil {
		return err
	}
	return d.off("CFI", spec.GcmdCFI)
}

// stopIRQ turns interrupt remapping off if it is on.
func (d *Driver) stopIRQ() error {
	if d.irq == nil {
		return nil
	}
	if err := d.invalidate(entry.OneWait, interruptGlobal()); err != nil {
		return err
	}
	d.irq = nil
	return d.off("IRE", spec.GcmdIRE)
}

// MapIRQ takes a block of entries.
func (d *Driver) MapIRQ(sid emu.SourceID, to ...host.Message) (host.IRQ, host.Message, error) {
	defer d.k.Enter().Leave()
	fail := func(err error) (host.IRQ, host.Message, error) {
		return 0, host.Message{}, fmt.Errorf("vtd: interrupts of %s: %w", driver.Label(sid, emu.NoPASID), err)
	}
	n := len(to)
	switch {
	case d.irq == nil:
		return fail(fmt.Errorf("interrupt remapping is off: %w", host.ErrUnsupported))
	case sid > 0xffff:
		return fail(fmt.Errorf("no requester id: %w", host.ErrDevice))
	case n == 0 || n > host.MaxIRQs || n&(n-1) != 0:
		return fail(fmt.Errorf("block of %d: %w", n, host.ErrUnsupported))
	}
	b := &irqBlock{source: source(sid), n: n}
	entries := make([]irte, n)
	for i, m := range to {
		var err error
		if entries[i], err = d.irq.remapped(b.source, m); err != nil {
			return fail(err)
		}
	}
	first, ok := d.irq.slots.Take(n)
	if !ok {
		return fail(fmt.Errorf("block of %d: %w", n, host.ErrNoIRQ))
	}
	d.irq.blocks[host.IRQ(first)] = b
	for i, e := range entries {
		d.putIRTE(first+i, e)
	}
	if err := d.dropIRTEs(first, n); err != nil {
		// What hardware holds is not known: the block is not given out again.
		delete(d.irq.blocks, host.IRQ(first))
		return fail(err)
	}
	return host.IRQ(first), requestMessage(first), nil
}

// MoveIRQ rewrites a live entry in one store. It claims one that an earlier system has left.
func (d *Driver) MoveIRQ(q host.IRQ, i int, to host.Message) error {
	defer d.k.Enter().Leave()
	b, err := d.block(q, i)
	if err != nil {
		return err
	}
	e, err := d.irq.remapped(b.source, to)
	if err != nil {
		return fmt.Errorf("vtd: interrupt %d: %w", int(q)+i, err)
	}
	return d.changeIRTE(b, int(q)+i, e)
}

// PostIRQ makes interrupt i of a block one that is posted to a descriptor in memory, under a vector
// of a virtual processor (5.2). MoveIRQ ends that. An urgent one notifies also while the descriptor
// suppresses notifications.
//
// Errors: host.ErrIRQ, host.ErrUnsupported (the unit cannot post; the descriptor is not aligned to 64
// bytes or beyond the host address width), host.ErrTimeout.
func (d *Driver) PostIRQ(q host.IRQ, i int, descriptor emu.PA, vector uint8, urgent bool) error {
	defer d.k.Enter().Leave()
	b, err := d.block(q, i)
	if err != nil {
		return err
	}
	if !spec.CapPI.On(d.caps.cap) || descriptor%spec.PIDSize != 0 || descriptor>>d.opt.HAW != 0 {
		return fmt.Errorf("vtd: interrupt %d posted to %#x: %w", int(q)+i, uint64(descriptor), host.ErrUnsupported)
	}
	return d.changeIRTE(b, int(q)+i, posted(b.source, descriptor, vector, urgent))
}

// changeIRTE gives a live entry of b another content.
func (d *Driver) changeIRTE(b *irqBlock, index int, e irte) error {
	d.putIRTE(index, e)
	b.inherited = false
	return d.dropIRTEs(index, 1)
}

// Notification returns the fifth word of a posted-interrupt descriptor that notifies by the message
// to: ON and SN are 0.
//
// Errors: host.ErrUnsupported (interrupt remapping is off; the message is not a fixed interrupt of one
// processor that the table can name).
func (d *Driver) Notification(to host.Message) (uint64, error) {
	if d.irq == nil {
		return 0, fmt.Errorf("vtd: notification: interrupt remapping is off: %w", host.ErrUnsupported)
	}
	return d.irq.notification(to)
}

// UnmapIRQ clears entries. They are given back when no cache can hold them any more.
func (d *Driver) UnmapIRQ(q host.IRQ) error {
	defer d.k.Enter().Leave()
	b, err := d.block(q, 0)
	if err != nil {
		return err
	}
	for i := range b.n {
		d.putIRTE(int(q)+i, irte{})
	}
	if err := d.dropIRTEs(int(q), b.n); err != nil {
		return err
	}
	delete(d.irq.blocks, q)
	d.irq.slots.Put(int(q), b.n)
	return nil
}

// IRQTable returns where the interrupt-remapping table lies and how many entries it has; ok is false
// without one.
func (d *Driver) IRQTable() (base emu.PA, n int, ok bool) {
	if d.irq == nil {
		return 0, 0, false
	}
	return d.irq.base, d.irq.slots.Len(), true
}

func (d *Driver) block(q host.IRQ, i int) (*irqBlock, error) {
	if d.irq != nil {
		if b := d.irq.blocks[q]; b != nil && i >= 0 && i < b.n {
			return b, nil
		}
	}
	return nil, fmt.Errorf("vtd: unit %d: interrupt %d of block %d: %w", d.opt.Unit, i, q, host.ErrIRQ)
}

// putIRTE writes an entry in one store of 16 bytes: hardware reads it in one piece.
func (d *Driver) putIRTE(index int, e irte) {
	at := d.irq.base + emu.PA(index)*spec.IRTESize
	d.k.CPU.Fence()
	d.k.CPU.Store128(at, e[0], e[1])
	d.k.Flush(at, spec.IRTESize)
}

// dropIRTEs makes hardware forget n entries, a power of two, from index on. When it returns, the
// interrupts that used them have arrived.
func (d *Driver) dropIRTEs(index, n int) error {
	im := uint8(bits.Len(uint(n)) - 1)
	if im <= uint8(spec.EcapMHMV.Of(d.caps.ecap)) {
		return d.invalidate(entry.OneWait, interruptEntries(index, im))
	}
	ops := make([]op, n)
	for i := range ops {
		ops[i] = interruptEntries(index+i, 0)
	}
	return d.invalidate(entry.OneWait, ops...)
}
