package amdvi

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/host"
)

// gaLog is the guest APIC log (2.7): interrupts for virtual processors that did not run.
type gaLog struct {
	base emu.PA
	tail emu.PA // where hardware stores the tail
	head uint64
}

// The log has 512 entries of 8 bytes, which is the length code of 256 entries of 16.
const (
	gaLen   = 8
	gaBytes = spec.GAEntrySize * 512
)

// startGuestIRQs sets up the guest virtual APIC: interrupts may be posted to virtual processors.
func (d *Driver) startGuestIRQs() error {
	if !d.opt.GuestAPIC {
		return nil
	}
	if d.irqs == nil || d.irqs.size != spec.IRTESize128 || spec.EfrGAMSup.Of(d.caps.efr)&1 == 0 {
		return fmt.Errorf("amdvi: unit %d: guest virtual APIC: %w", d.opt.Unit, host.ErrUnsupported)
	}
	l := &gaLog{}
	var err error
	if l.base, err = d.k.Alloc(emu.PageShift); err != nil {
		return err
	}
	if l.tail, err = d.k.Alloc(emu.PageShift); err != nil {
		return err
	}
	d.ga = l
	d.k.Write(spec.OffGALogBase, 8, uint64(l.base)|spec.RingLen.Put(gaLen))
	d.k.Write(spec.OffGALogTailAddr, 8, uint64(l.tail)&spec.GALogTailAddr.Mask())
	d.k.Write(spec.OffGAHead, 4, 0)
	d.k.Write(spec.OffGATail, 4, 0)
	d.control(spec.CtlGAIntEn, 1)
	d.control(spec.CtlGALogEn, 1)
	d.control(spec.CtlGAMEn, 1)
	return nil
}

// OnGuestIRQ sets who is told that an interrupt with a tag waits for a virtual processor that does not run.
// fn runs in the interrupt handler or at the end of a method.
func (d *Driver) OnGuestIRQ(fn func(tag uint32, source emu.SourceID)) { d.onGuestIRQ = fn }

// takeGuestIRQs reads the log up to the tail that hardware has stored.
func (d *Driver) takeGuestIRQs() {
	l := d.ga
	tail := d.k.CPU.Load64(l.tail) & spec.GARingPtr.Mask() % gaBytes
	for ; l.head != tail; l.head = (l.head + spec.GAEntrySize) % gaBytes {
		e := d.k.CPU.Load64(l.base + emu.PA(l.head))
		d.k.CPU.Store64(l.base+emu.PA(l.head), 0)
		if spec.GaCode.Of(e) == spec.GANotRunning && d.onGuestIRQ != nil {
			d.onGuestIRQ(uint32(spec.GaTag.Of(e)), emu.SourceID(spec.GaDeviceID.Of(e)))
		}
	}
	d.k.Write(spec.OffGAHead, 4, l.head)
}

// PostIRQ makes the interrupt of a block of one be posted: a bit for vector is set in the virtual APIC page at
// page. MoveIRQ ends that. The virtual processor does not run until RunIRQ says so.
//
// Errors: host.ErrIRQ, host.ErrUnsupported (Options.GuestAPIC is off; the block is larger; the page is not
// aligned, or beyond the physical address width), host.ErrTimeout.
func (d *Driver) PostIRQ(q host.IRQ, page emu.PA, vector uint8, tag uint32) error {
	defer d.k.Enter().Leave()
	t, b, first, err := d.block(q, 0)
	if err != nil {
		return err
	}
	if d.ga == nil || b.n != 1 || page%emu.PageSize != 0 || page>>d.opt.HAW != 0 {
		return fmt.Errorf("amdvi: block %d of %d posted to %#x: %w", q, b.n, uint64(page), host.ErrUnsupported)
	}
	b.inherited, b.posted = false, true
	d.putIRTE(t, first, posted(page, vector, tag))
	return d.dropIRTEs(t)
}

// RunIRQ says whether the virtual processor of a posted interrupt runs, and on which processor: that is told
// by a doorbell. Hardware does not cache that, nothing is invalidated.
//
// Errors: host.ErrIRQ (not posted).
func (d *Driver) RunIRQ(q host.IRQ, running bool, processor uint32) error {
	defer d.k.Enter().Leave()
	t, b, first, err := d.block(q, 0)
	if err != nil {
		return err
	}
	if !b.posted {
		return fmt.Errorf("amdvi: block %d is not posted: %w", q, host.ErrIRQ)
	}
	at := t.base + emu.PA(first*d.irqs.size)
	e := irte{d.k.CPU.Load64(at), d.k.CPU.Load64(at + 8)}
	spec.IrteIsRun.Set(e[:], b2u(running))
	setDest(&e, processor)
	d.putIRTE(t, first, e)
	d.k.CPU.Fence()
	return nil
}

func b2u(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
