package qemu

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

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
	case len(d.Data) == 4 && d.Write && v.u.isMessage(d.Addr) && d.Addr&3 == 0:
		return v.message(e, d)
	case len(d.Data) != 8 || d.Addr&7 != 0 || v.u.isMessage(d.Addr):
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

// read lets a device read, and send what it has got to where it can be seen.
func (v *Peer) read(e *edu, d *conform.DMA) (out conform.Outcome, err error) {
	v.seen.reading, v.seen.data = true, v.seen.data[:0]
	defer func() { v.seen.reading = false }()
	if ok, err := v.probe(e, uint64(d.Addr), eduRoom, 0); !ok || err != nil {
		return out, err
	}
	if err := v.transfer(e, uint64(d.Addr), eduRoom, 8, 0); err != nil {
		return out, err
	}
	if err := v.sendBack(e, d.Data); err != nil {
		return out, err
	}
	out.OK = v.u.probe || !v.seen.refused // of a probe it is known by now
	return out, nil
}

// sendBack lets a device send what it has read: as a message, or to memory, past translation.
func (v *Peer) sendBack(e *edu, data []byte) error {
	restore, err := v.setAside()
	if err != nil {
		return err
	}
	to := uint64(readBack)
	var was [8]byte
	if v.u.toMemory {
		to = v.m.RAM + scratch
		if err := v.p.LoadRAM(scratch, was[:]); err != nil {
			return err
		}
	}
	if err := v.transfer(e, eduRoom, to, 8, eduToMemory); err != nil {
		return err
	}
	if err := v.end(); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return err
	}
	if v.u.toMemory {
		if err := v.p.LoadRAM(scratch, data); err != nil {
			return err
		}
		return v.p.StoreRAM(scratch, was[:])
	}
	m := v.seen.data
	if len(m) != 2 || m[0].Addr != readBack || m[1].Addr != readBack+4 {
		return v.broken("edu", "its data is not in the log")
	}
	binary.LittleEndian.PutUint32(data, m[0].Data)
	binary.LittleEndian.PutUint32(data[4:], m[1].Data)
	return nil
}

// scratch is where devices send what they have read, from the beginning of RAM. What was there is put back.
const scratch = lowest - emu.PageSize

// setAside changes registers of the unit for what follows, and returns what puts them back.
func (v *Peer) setAside() (restore func() error, err error) {
	if len(v.u.aside) == 0 {
		return func() error { return nil }, nil
	}
	if err := v.end(); err != nil {
		return nil, err
	}
	was := make([]uint64, len(v.u.aside))
	for i, a := range v.u.aside {
		if was[i], err = v.p.Client.Read(v.base+uint64(a.off), a.size); err != nil {
			return nil, err
		}
		v.batch.Write(v.base+uint64(a.off), a.size, was[i]&^a.clear|a.set)
	}
	return func() error {
		for i, a := range v.u.aside {
			v.batch.Write(v.base+uint64(a.off), a.size, was[i]|a.set)
		}
		return v.run()
	}, nil
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
