package qemu

import (
	"fmt"
	"time"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/conform/qtest"
	"github.com/iommulab/iommulab/emu"
)

// Options say which QEMU to run, and how.
type Options struct {
	Binary *qtest.Binary // nil: what qtest.Find finds
	Mode   Mode
	// Properties are more properties of the unit, as on QEMU's command line: "caching-mode=on".
	Properties []string
	RAM        int           // bytes; 0 is 8 MiB
	Limit      time.Duration // for one answer of QEMU; 0 is 10 s
}

// lowest is where the RAM for programs begins, from the beginning of RAM: below is a PC's first MiB.
const lowest = 1 << 20

// Peer is a unit of QEMU in a machine with a few devices. It implements conform.Peer.
type Peer struct {
	p     *qtest.Process
	u     *unit
	m     *qtest.Machine
	base  uint64 // of the unit's registers
	name  string
	edu   []*edu
	msi   uint16 // the MSI capability of the unit, if it is configured there
	ram   uint64
	limit time.Duration // for a DMA
	batch qtest.Batch
	seen  seen
}

var _ conform.Peer = (*Peer)(nil)

// Open starts a QEMU with a unit.
//
// Errors: qtest.Error; qtest.ErrNoQEMU, qtest.ErrUnsupported say that there is nothing to talk to.
func Open(o Options) (*Peer, error) {
	u := o.Mode.unit()
	b := o.Binary
	if b == nil {
		var err error
		if b, err = qtest.Find(u.machine.System); err != nil {
			return nil, err
		}
	}
	args, err := o.Mode.args(b, o.Properties)
	if err != nil {
		return nil, err
	}
	if o.RAM == 0 {
		o.RAM = 8 << 20
	}
	if o.Limit == 0 {
		o.Limit = 10 * time.Second
	}
	p, err := qtest.Start(qtest.Config{
		Binary: b, Machine: u.machine, RAM: o.RAM, Limit: o.Limit, Events: u.events, Args: append(args, u.args...),
	})
	if err != nil {
		return nil, err
	}
	v := &Peer{
		p: p, u: u, m: u.machine, base: u.machine.IOMMUs[u.device], ram: uint64(o.RAM), limit: o.Limit,
		name: fmt.Sprintf("QEMU %v %s %v", p.Version, u.title, o.Mode),
	}
	if err := v.prepare(); err != nil {
		p.Close()
		return nil, err
	}
	return v, nil
}

// prepare makes the devices ready. What is in their buffers survives resets.
func (v *Peer) prepare() error {
	v.m.Enumerate(&v.batch, v.u.pci)
	if err := v.run(); err != nil {
		return err
	}
	if err := v.p.CheckPCI(v.m, v.u.pci); err != nil {
		return err
	}
	if err := v.p.StoreRAM(lowest, tags()); err != nil {
		return err
	}
	for _, f := range v.u.pci {
		var err error
		if f.ID == v.u.function {
			if v.msi, err = v.p.Capability(v.m, f.BDF, capMSI); err != nil {
				return err
			}
		}
		if f.ID != eduID {
			continue
		}
		e := &edu{pci: f}
		if e.msi, err = v.p.Capability(v.m, f.BDF, capMSI); err != nil {
			return err
		}
		if err := v.transfer(e, v.m.RAM+lowest, eduBuffer, conform.Tags*8, 0); err != nil {
			return err
		}
		v.edu = append(v.edu, e)
	}
	if err := v.end(); err != nil {
		return err
	}
	return v.Reset()
}

// run sends what is on the list, and empties it.
func (v *Peer) run() error {
	_, err := v.p.Do(&v.batch)
	v.batch.Reset()
	return err
}

// Name returns release and mode.
func (v *Peer) Name() string { return v.name }

// Version returns the release of QEMU.
func (v *Peer) Version() qtest.Version { return v.p.Version }

// Machine returns what there is.
func (v *Peer) Machine() conform.Machine {
	m := conform.Machine{RAM: emu.PA(v.m.RAM + lowest), Size: v.ram - lowest, First: emu.PA(v.m.RAM), Hole: emu.PA(v.m.Hole)}
	if v.msi != 0 {
		m.MSI = &unitMessage
	}
	for _, e := range v.edu {
		m.Devices = append(m.Devices, conform.Device{Source: emu.SourceID(e.pci.BDF)})
	}
	return m
}

// Reset resets the machine and enumerates its devices again.
func (v *Peer) Reset() error {
	if err := v.p.Reset(); err != nil {
		return err
	}
	if err := v.p.ClearRAM(); err != nil {
		return err
	}
	v.m.Enumerate(&v.batch, v.u.pci)
	for _, e := range v.edu {
		e.armed = false
	}
	for _, f := range v.u.fresh {
		v.batch.Write(v.base+uint64(f.off), f.size, f.value)
	}
	if v.msi != 0 {
		v.m.SetMSI(&v.batch, v.functionOf(v.u.function), v.msi, uint32(unitMessage.Addr), unitMessage.Data)
	}
	if err := v.run(); err != nil {
		return err
	}
	err := v.p.Log(func([]byte) {})
	v.seen = seen{messages: v.seen.messages[:0]}
	return err
}

// unitMessage is the interrupt message of a unit that has it in its configuration space.
var unitMessage = conform.Message{Addr: emu.MSIAddress, Data: 0x20}

// functionOf returns where the function with an identity is.
func (v *Peer) functionOf(id uint32) uint16 {
	for _, f := range v.u.pci {
		if f.ID == id {
			return f.BDF
		}
	}
	return 0
}

func (v *Peer) width(size uint8) error {
	if size != 4 && size != 8 {
		return fmt.Errorf("qemu: a register access of %d bytes: expected 4 or 8", size)
	}
	return nil
}

// ReadReg reads a register of the unit.
func (v *Peer) ReadReg(off uint32, size uint8) (uint64, error) {
	if err := v.width(size); err != nil {
		return 0, err
	}
	return v.p.Client.Read(v.base+uint64(off), size)
}

// WriteReg writes a register. QEMU does all that follows before it answers.
func (v *Peer) WriteReg(off uint32, size uint8, x uint64) error {
	if err := v.width(size); err != nil {
		return err
	}
	return v.p.Client.Write(v.base+uint64(off), size, x)
}

// Read reads RAM.
func (v *Peer) Read(pa emu.PA, b []byte) error {
	if err := v.p.Err(); err != nil {
		return err
	}
	return v.p.LoadRAM(uint64(pa)-v.m.RAM, b)
}

// Write writes RAM.
func (v *Peer) Write(pa emu.PA, b []byte) error {
	if err := v.p.Err(); err != nil {
		return err
	}
	return v.p.StoreRAM(uint64(pa)-v.m.RAM, b)
}

// look reads on in the log.
func (v *Peer) look() error { return v.p.Log(func(text []byte) { v.seen.line(v.u, text) }) }

// broken is an answer of QEMU that makes no sense; the process is no good any more.
func (v *Peer) broken(op, detail string) error {
	return v.p.Fail(&qtest.Error{Op: op, Err: qtest.ErrProtocol, Detail: detail})
}

// Messages returns what the log told of.
func (v *Peer) Messages() ([]conform.Message, error) {
	if err := v.look(); err != nil {
		return nil, err
	}
	if len(v.seen.messages) == 0 {
		return nil, nil
	}
	list := append([]conform.Message(nil), v.seen.messages...)
	v.seen.messages, v.seen.own = v.seen.messages[:0], 0
	return list, nil
}

// Step lets time pass, where it does not do so by itself.
func (v *Peer) Step(ns uint64) error {
	if v.p.Jumps {
		return v.p.Err()
	}
	return v.p.Step(ns)
}

// Close ends QEMU.
func (v *Peer) Close() error { return v.p.Close() }
