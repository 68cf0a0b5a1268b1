package qemu

import (
	"encoding/binary"
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
	m := conform.Machine{RAM: emu.PA(v.m.RAM + lowest), Size: v.ram - lowest, Hole: emu.PA(v.m.Hole)}
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
	for _, off := range v.u.fresh {
		v.batch.Write(v.base+uint64(off), 8, 0)
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

// DMA does one access. Reads need 8 aligned bytes, writes one of conform.Tag, messages 4 bytes.
func (v *Peer) DMA(d *conform.DMA) (conform.Outcome, error) {
	var out conform.Outcome
	if d.Device < 0 || d.Device >= len(v.edu) {
		return out, fmt.Errorf("qemu: DMA of device %d of %d", d.Device, len(v.edu))
	}
	if d.PASID != emu.NoPASID {
		return out, fmt.Errorf("qemu: DMA with PASID %#x: the devices have none", uint32(d.PASID))
	}
	e := v.edu[d.Device]
	switch {
	case len(d.Data) == 4 && d.Write && isMessage(d.Addr) && d.Addr&3 == 0:
		return v.message(e, d)
	case len(d.Data) != 8 || d.Addr&7 != 0 || isMessage(d.Addr):
		return out, fmt.Errorf("qemu: DMA of %d bytes at %#x: expected 8, aligned, or a message of 4", len(d.Data), uint64(d.Addr))
	}
	if err := v.look(); err != nil {
		return out, err
	}
	v.seen.refused = false
	if !d.Write {
		return v.read(e, d)
	}
	tag, err := tagAt(d.Data)
	if err != nil {
		return out, err
	}
	if ok, err := v.probe(e, tag, uint64(d.Addr), eduToMemory); !ok || err != nil {
		return out, err
	}
	if err := v.transfer(e, tag, uint64(d.Addr), 8, eduToMemory); err != nil {
		return out, err
	}
	err = v.end()
	return conform.Outcome{OK: !v.seen.refused}, err
}

// probe tries the first 4 bytes of an access, if the unit wants it, and reports whether all of it may
// follow.
func (v *Peer) probe(e *edu, source, target, command uint64) (bool, error) {
	if !v.u.probe {
		return true, nil
	}
	if err := v.transfer(e, source, target, 4, command); err != nil {
		return false, err
	}
	err := v.end()
	return !v.seen.refused, err
}

// read lets a device read, and send what it has got as a message.
func (v *Peer) read(e *edu, d *conform.DMA) (out conform.Outcome, err error) {
	v.seen.reading, v.seen.data = true, v.seen.data[:0]
	defer func() { v.seen.reading = false }()
	if ok, err := v.probe(e, uint64(d.Addr), eduRoom, 0); !ok || err != nil {
		return out, err
	}
	if err := v.transfer(e, uint64(d.Addr), eduRoom, 8, 0); err != nil {
		return out, err
	}
	if err := v.sendBack(e); err != nil {
		return out, err
	}
	m := v.seen.data
	if len(m) != 2 || m[0].Addr != readBack || m[1].Addr != readBack+4 {
		return out, v.broken("edu", "its data is not in the log")
	}
	binary.LittleEndian.PutUint32(d.Data, m[0].Data)
	binary.LittleEndian.PutUint32(d.Data[4:], m[1].Data)
	out.OK = v.u.probe || !v.seen.refused // of a probe it is known by now
	return out, nil
}

// sendBack lets a device send what it has read, and waits for its end.
func (v *Peer) sendBack(e *edu) error {
	if v.u.hush.bits == 0 {
		if err := v.transfer(e, eduRoom, readBack, 8, eduToMemory); err != nil {
			return err
		}
		return v.end()
	}
	if err := v.end(); err != nil {
		return err
	}
	at := v.base + uint64(v.u.hush.off)
	was, err := v.p.Client.Read(at, 8)
	if err != nil {
		return err
	}
	v.batch.Write(at, 8, was&^v.u.hush.bits)
	if err := v.transfer(e, eduRoom, readBack, 8, eduToMemory); err != nil {
		return err
	}
	if err := v.end(); err != nil {
		return err
	}
	return v.p.Client.Write(at, 8, was)
}

// transfer lets an engine copy n bytes. Where time can be stepped it only goes on the list: end does it.
func (v *Peer) transfer(e *edu, source, target uint64, n int, command uint64) error {
	e.transfer(&v.batch, !v.p.Jumps, source, target, n, command)
	if !v.p.Jumps {
		return nil
	}
	for begin := time.Now(); ; {
		vals, err := v.p.Do(&v.batch)
		v.batch.Reset()
		switch {
		case err != nil:
			return err
		case vals[len(vals)-1]&eduRun == 0:
			return nil
		case time.Since(begin) > v.limit:
			return v.broken("edu", "still running")
		}
		e.status(&v.batch)
	}
}

// end runs the list, requires that the engines have come to an end, and looks at what was logged.
func (v *Peer) end() error {
	vals, err := v.p.Do(&v.batch)
	n := v.batch.Len()
	v.batch.Reset()
	if err != nil {
		return err
	}
	if n > 0 && vals[n-1]&eduRun != 0 {
		return v.broken("edu", "still running")
	}
	return v.look()
}

// message lets a device send an interrupt.
func (v *Peer) message(e *edu, d *conform.DMA) (conform.Outcome, error) {
	var out conform.Outcome
	data := binary.LittleEndian.Uint32(d.Data)
	if data >= 1<<16 {
		return out, fmt.Errorf("qemu: a message with %#x: the device has 16 bits", data)
	}
	if err := v.look(); err != nil {
		return out, err
	}
	before := len(v.seen.messages) - v.seen.own
	e.message(&v.batch, v.m, uint32(d.Addr), data)
	if err := v.run(); err != nil {
		return out, err
	}
	err := v.look()
	out.OK = len(v.seen.messages)-v.seen.own > before
	return out, err
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
