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

// lowest is where the RAM for programs begins: what is below is a PC's first MiB.
const lowest = 1 << 20

// VTD is QEMU's VT-d unit in a PC with a few devices. It implements conform.Peer.
type VTD struct {
	p     *qtest.Process
	m     *qtest.Machine
	base  uint64 // of the unit's registers
	name  string
	pci   []qtest.PCI
	edu   []*edu
	ram   uint64
	limit time.Duration // for a DMA
	batch qtest.Batch
	seen  seen
}

var _ conform.Peer = (*VTD)(nil)

// The requesters: two on the root bus, one behind a root port on bus 1.
var vtdDevices = []qtest.PCI{
	{BDF: 0x0018, ID: eduID, BAR: 0xe000_0000},
	{BDF: 0x00a1, ID: eduID, BAR: 0xe010_0000},
	{BDF: 0x0030, ID: 0x000c_1b36, Bus: 1, Window: 0xe020_0000, Size: 0x10_0000},
	{BDF: 0x0100, ID: eduID, BAR: 0xe020_0000},
}

var vtdArgs = []string{
	"-device", eduArgs + ",addr=03.0",
	"-device", "pcie-root-port,id=rp1,chassis=1,addr=06.0",
	"-device", eduArgs + ",addr=14.1", // the upper half of the bus, which scalable mode finds by UCTP
	"-device", "pci-testdev,addr=14.0,multifunction=on",
	"-device", eduArgs + ",bus=rp1,addr=00.0",
}

// Open starts a QEMU with a VT-d unit.
//
// Errors: qtest.Error; qtest.ErrNoQEMU, qtest.ErrUnsupported say that there is nothing to talk to.
func Open(o Options) (*VTD, error) {
	b := o.Binary
	if b == nil {
		var err error
		if b, err = qtest.Find(qtest.Q35.System); err != nil {
			return nil, err
		}
	}
	unit, err := o.Mode.device(b, o.Properties)
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
		Binary: b, Machine: &qtest.Q35, RAM: o.RAM, Limit: o.Limit, Events: vtdEvents,
		Args: append([]string{"-device", unit}, vtdArgs...),
	})
	if err != nil {
		return nil, err
	}
	v := &VTD{
		p: p, m: &qtest.Q35, base: qtest.Q35.IOMMUs["intel-iommu"], pci: vtdDevices, ram: uint64(o.RAM), limit: o.Limit,
		name: fmt.Sprintf("QEMU %v VT-d %v", p.Version, o.Mode),
	}
	if err := v.prepare(); err != nil {
		p.Close()
		return nil, err
	}
	return v, nil
}

// prepare makes the devices ready. What is in their buffers survives resets.
func (v *VTD) prepare() error {
	v.m.Enumerate(&v.batch, v.pci)
	if err := v.run(); err != nil {
		return err
	}
	if err := v.p.CheckPCI(v.m, v.pci); err != nil {
		return err
	}
	if err := v.p.StoreRAM(lowest, tags()); err != nil {
		return err
	}
	for _, f := range v.pci {
		if f.ID != eduID {
			continue
		}
		e := &edu{pci: f}
		var err error
		if e.msi, err = v.p.Capability(v.m, f.BDF, 0x05); err != nil {
			return err
		}
		if err := v.transfer(e, lowest, eduBuffer, conform.Tags*8, 0); err != nil {
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
func (v *VTD) run() error {
	_, err := v.p.Do(&v.batch)
	v.batch.Reset()
	return err
}

// Name returns release and mode.
func (v *VTD) Name() string { return v.name }

// Version returns the release of QEMU.
func (v *VTD) Version() qtest.Version { return v.p.Version }

// Machine returns what there is.
func (v *VTD) Machine() conform.Machine {
	m := conform.Machine{RAM: lowest, Size: v.ram - lowest, Hole: emu.PA(v.m.Hole)}
	for _, e := range v.edu {
		m.Devices = append(m.Devices, conform.Device{Source: emu.SourceID(e.pci.BDF)})
	}
	return m
}

// Reset resets the machine and enumerates its devices again.
func (v *VTD) Reset() error {
	if err := v.p.Reset(); err != nil {
		return err
	}
	if err := v.p.ClearRAM(); err != nil {
		return err
	}
	v.m.Enumerate(&v.batch, v.pci)
	for _, e := range v.edu {
		e.armed = false
	}
	if err := v.run(); err != nil {
		return err
	}
	err := v.p.Log(func([]byte) {})
	v.seen = seen{messages: v.seen.messages[:0]}
	return err
}

func (v *VTD) width(size uint8) error {
	if size != 4 && size != 8 {
		return fmt.Errorf("qemu: a register access of %d bytes: expected 4 or 8", size)
	}
	return nil
}

// ReadReg reads a register of the unit.
func (v *VTD) ReadReg(off uint32, size uint8) (uint64, error) {
	if err := v.width(size); err != nil {
		return 0, err
	}
	return v.p.Client.Read(v.base+uint64(off), size)
}

// WriteReg writes a register. QEMU does all that follows before it answers.
func (v *VTD) WriteReg(off uint32, size uint8, x uint64) error {
	if err := v.width(size); err != nil {
		return err
	}
	return v.p.Client.Write(v.base+uint64(off), size, x)
}

// Read reads RAM.
func (v *VTD) Read(pa emu.PA, b []byte) error {
	if err := v.p.Err(); err != nil {
		return err
	}
	return v.p.LoadRAM(uint64(pa)-v.m.RAM, b)
}

// Write writes RAM.
func (v *VTD) Write(pa emu.PA, b []byte) error {
	if err := v.p.Err(); err != nil {
		return err
	}
	return v.p.StoreRAM(uint64(pa)-v.m.RAM, b)
}

// DMA does one access. Reads need 8 aligned bytes, writes one of conform.Tag, messages 4 bytes.
func (v *VTD) DMA(d *conform.DMA) (conform.Outcome, error) {
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
	if d.Write {
		tag, err := tagAt(d.Data)
		if err != nil {
			return out, err
		}
		err = v.transfer(e, tag, uint64(d.Addr), 8, eduToMemory)
		if err != nil {
			return out, err
		}
	} else {
		if err := v.transfer(e, uint64(d.Addr), eduRoom, 8, 0); err != nil {
			return out, err
		}
		if err := v.transfer(e, eduRoom, readBack, 8, eduToMemory); err != nil {
			return out, err
		}
	}
	if err := v.end(); err != nil {
		return out, err
	}
	out.OK = !v.seen.refused
	if d.Write {
		return out, nil
	}
	return out, v.takeBack(d.Data)
}

// transfer lets an engine copy n bytes. Where time can be stepped it only goes on the list: end does it.
func (v *VTD) transfer(e *edu, source, target uint64, n int, command uint64) error {
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
func (v *VTD) end() error {
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

// takeBack takes the last two messages for what they are: the data of a read.
func (v *VTD) takeBack(data []byte) error {
	m := v.seen.messages
	n := len(m) - 2
	if n < 0 || m[n].Addr != readBack || m[n+1].Addr != readBack+4 {
		return v.broken("edu", "its data is not in the log")
	}
	binary.LittleEndian.PutUint32(data, m[n].Data)
	binary.LittleEndian.PutUint32(data[4:], m[n+1].Data)
	v.seen.messages = m[:n]
	return nil
}

// message lets a device send an interrupt.
func (v *VTD) message(e *edu, d *conform.DMA) (conform.Outcome, error) {
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
func (v *VTD) look() error { return v.p.Log(v.seen.line) }

// broken is an answer of QEMU that makes no sense; the process is no good any more.
func (v *VTD) broken(op, detail string) error {
	return v.p.Fail(&qtest.Error{Op: op, Err: qtest.ErrProtocol, Detail: detail})
}

// Messages returns what the log told of.
func (v *VTD) Messages() ([]conform.Message, error) {
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
func (v *VTD) Step(ns uint64) error {
	if v.p.Jumps {
		return v.p.Err()
	}
	return v.p.Step(ns)
}

// Close ends QEMU.
func (v *VTD) Close() error { return v.p.Close() }
