package amdvi

import (
	"fmt"
	"math/bits"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
	"github.com/iommulab/iommulab/host/entry"
)

// irqs is interrupt remapping (2.2.5): each device has a table of its own, whatever else is known of it.
type irqs struct {
	size   int // bytes of an entry
	n      int // entries of a table
	xt     bool
	tables map[emu.SourceID]*irqTable
}

// irqTable is the interrupt table of a device.
type irqTable struct {
	base   emu.PA
	names  []emu.SourceID // requester ids that it is for
	slots  driver.Slots
	blocks map[int]*irqBlock
	lent   bool // it is an earlier system's
}

// irqBlock is a block of entries.
type irqBlock struct {
	n         int
	posted    bool // the first and only one is for a virtual processor
	inherited bool // an earlier system's, that nobody has claimed
}

// wide reports whether destinations have 32 bits.
func (q *irqs) wide() bool { return q.xt }

var _ host.IRQRemapper = (*Driver)(nil)

// makeIRQs checks what is asked for. What it has to do with Control is startIRQs.
func (d *Driver) makeIRQs() error {
	n := d.opt.IRQEntries
	two := spec.Efr2NumIntRemapSup.Of(d.caps.efr2) == spec.NumIntRemap2048
	switch {
	case !d.opt.IRQ:
		return nil
	case n < 2 || n > 1<<spec.MaxIntTabLen || n&(n-1) != 0 || n > 512 && !two:
		return fmt.Errorf("amdvi: unit %d: interrupt tables of %d entries: %w", d.opt.Unit, n, host.ErrUnsupported)
	}
	d.irqs = &irqs{size: spec.IRTESize32, n: n, tables: make(map[emu.SourceID]*irqTable)}
	if d.caps.has(spec.EfrGASup) {
		d.irqs.size, d.irqs.xt = spec.IRTESize128, d.caps.wide
	}
	return nil
}

// startIRQs chooses the format of entries, before IommuEn.
func (d *Driver) startIRQs() {
	if d.irqs == nil {
		return
	}
	if d.irqs.size == spec.IRTESize128 {
		d.control(spec.CtlGAEn, 1)
	}
	if d.irqs.xt {
		d.control(spec.CtlXTEn, 1)
	}
	if d.irqs.n > 512 {
		d.control(spec.CtlNumIntRemapMode, spec.NumIntRemap2048)
	}
}

// irqBits is where the index is in a host.IRQ; the DeviceID is above.
const irqBits = 11

func (d *Driver) irqName(sid emu.SourceID, index int) host.IRQ {
	return host.IRQ(sid)<<irqBits | host.IRQ(index)
}

// fixedOf returns what of the device table entry of sid no domain changes: what firmware has asked for, and
// interrupts. Until it has a table its interrupts are blocked, but for those that firmware lets pass.
func (d *Driver) fixedOf(sid emu.SourceID) *spec.DTE {
	e := d.fixed[sid]
	if e == nil {
		fw := d.opt.Firmware[sid]
		e = new(spec.DTE)
		*e = fw.entry()
		e[2] |= spec.DteIV.PutBool(d.irqs != nil)
		d.fixed[sid] = e
	}
	return e
}

// irqTableOf returns the table of sid, and makes it if need be. The device table entry is told of it by one store
// of 8 bytes, which leaves the guest paging mode as it is.
func (d *Driver) irqTableOf(sid emu.SourceID) (*irqTable, error) {
	if t := d.irqs.tables[sid]; t != nil {
		return t, nil
	}
	t := &irqTable{names: append([]emu.SourceID{sid}, d.opt.Firmware[sid].Aliases...), slots: driver.NewSlots(d.irqs.n), blocks: make(map[int]*irqBlock)}
	for _, name := range t.names {
		if name > d.opt.LastDevice {
			return nil, fmt.Errorf("%#04x: the last device is %#04x: %w", uint32(name), uint32(d.opt.LastDevice), host.ErrDevice)
		}
	}
	var err error
	if t.base, err = d.k.Alloc(uint8(bits.Len(uint(d.irqs.n*d.irqs.size - 1)))); err != nil {
		return nil, err
	}
	w := d.fixedOf(sid)[:]
	spec.DteIRTRoot.Set(w, uint64(t.base)>>6)
	spec.DteIntTabLen.Set(w, uint64(bits.Len(uint(d.irqs.n))-1))
	spec.DteIntCtl.Set(w, spec.IntCtlRemap)
	d.irqs.tables[sid] = t
	return t, d.putUpper(t.names, w[2])
}

// putUpper stores the interrupt side of device table entries.
func (d *Driver) putUpper(names []emu.SourceID, w uint64) error {
	var ops []op
	d.k.CPU.Fence()
	for _, name := range names {
		at := d.dteAt(name) + 16
		gpm := d.k.CPU.Load64(at) & spec.DteGuestPagingMode.Mask()
		d.k.CPU.Store64(at, w|gpm)
		ops = append(ops, devtab(name))
	}
	d.k.CPU.Fence()
	return d.invalidate(entry.OneWait, ops...)
}

// MapIRQ takes a block of entries of the device's table.
func (d *Driver) MapIRQ(sid emu.SourceID, to ...host.Message) (host.IRQ, host.Message, error) {
	defer d.k.Enter().Leave()
	fail := func(err error) (host.IRQ, host.Message, error) {
		return 0, host.Message{}, fmt.Errorf("amdvi: interrupts of %s: %w", driver.Label(sid, emu.NoPASID), err)
	}
	n := len(to)
	switch {
	case d.irqs == nil:
		return fail(fmt.Errorf("interrupt remapping is off: %w", host.ErrUnsupported))
	case sid > d.opt.LastDevice:
		return fail(fmt.Errorf("the last device is %#04x: %w", uint32(d.opt.LastDevice), host.ErrDevice))
	case n == 0 || n > host.MaxIRQs || n&(n-1) != 0:
		return fail(fmt.Errorf("block of %d: %w", n, host.ErrUnsupported))
	}
	entries := make([]irte, n)
	for i, m := range to {
		var err error
		if entries[i], err = d.remapped(m); err != nil {
			return fail(err)
		}
	}
	t, err := d.irqTableOf(sid)
	if err != nil {
		return fail(err)
	}
	first, ok := t.slots.Take(n)
	if !ok {
		return fail(fmt.Errorf("block of %d: %w", n, host.ErrNoIRQ))
	}
	t.blocks[first] = &irqBlock{n: n}
	for i, e := range entries {
		d.putIRTE(t, first+i, e)
	}
	if err := d.dropIRTEs(t); err != nil {
		// What hardware holds is not known: the block is not given out again.
		delete(t.blocks, first)
		return fail(err)
	}
	msg := host.Message{Addr: emu.MSIAddress, Data: uint32(first)}
	if spec.CtlNumIntRemapMode.Of(d.ctl) == spec.NumIntRemap2048 {
		msg.Addr |= emu.PA(spec.MsiAddrDM.Mask()) // all of the data is an index then
	}
	return d.irqName(sid, first), msg, nil
}

// MoveIRQ rewrites a live entry in one store. It claims one that an earlier system has left.
func (d *Driver) MoveIRQ(q host.IRQ, i int, to host.Message) error {
	defer d.k.Enter().Leave()
	t, b, first, err := d.block(q, i)
	if err != nil {
		return err
	}
	e, err := d.remapped(to)
	if err != nil {
		return fmt.Errorf("amdvi: interrupt %d of block %d: %w", i, q, err)
	}
	b.inherited, b.posted = false, false
	d.putIRTE(t, first+i, e)
	return d.dropIRTEs(t)
}

// UnmapIRQ clears entries. They are given back when no cache can hold them any more.
func (d *Driver) UnmapIRQ(q host.IRQ) error {
	defer d.k.Enter().Leave()
	t, b, first, err := d.block(q, 0)
	if err != nil {
		return err
	}
	for i := range b.n {
		d.putIRTE(t, first+i, irte{})
	}
	if err := d.dropIRTEs(t); err != nil {
		return err
	}
	delete(t.blocks, first)
	t.slots.Put(first, b.n)
	return nil
}

// IRQTable returns where the interrupt table of sid lies, how many entries it has, and their size in bytes; ok
// is false if it has none.
func (d *Driver) IRQTable(sid emu.SourceID) (base emu.PA, n, size int, ok bool) {
	if d.irqs == nil || d.irqs.tables[sid] == nil {
		return 0, 0, 0, false
	}
	t := d.irqs.tables[sid]
	return t.base, t.slots.Len(), d.irqs.size, true
}

func (d *Driver) block(q host.IRQ, i int) (t *irqTable, b *irqBlock, first int, err error) {
	if d.irqs != nil {
		first = int(q & (1<<irqBits - 1))
		if t = d.irqs.tables[emu.SourceID(q>>irqBits)]; t != nil {
			if b = t.blocks[first]; b != nil && i >= 0 && i < b.n {
				return t, b, first, nil
			}
		}
	}
	return nil, nil, 0, fmt.Errorf("amdvi: unit %d: interrupt %d of block %d: %w", d.opt.Unit, i, q, host.ErrIRQ)
}

// putIRTE writes an entry in one store: hardware reads it in one piece. Two of 32 bits share a word.
func (d *Driver) putIRTE(t *irqTable, index int, e irte) {
	at := t.base + emu.PA(index*d.irqs.size)
	d.k.CPU.Fence()
	if d.irqs.size == spec.IRTESize128 {
		d.k.CPU.Store128(at, e[0], e[1])
		return
	}
	shift := at % 8 * 8
	w := d.k.CPU.Load64(at&^7)&^(0xffff_ffff<<shift) | e[0]<<shift
	d.k.CPU.Store64(at&^7, w)
}

// dropIRTEs makes hardware forget the entries of a table. When it returns, the interrupts that used them have
// arrived.
func (d *Driver) dropIRTEs(t *irqTable) error {
	ops := make([]op, len(t.names))
	for i, name := range t.names {
		ops[i] = interruptTable(name)
	}
	d.k.CPU.Fence()
	return d.invalidate(entry.OneWait, ops...)
}
