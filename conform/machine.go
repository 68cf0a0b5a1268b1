package conform

import (
	"encoding/binary"
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// Model is our own machine as a Peer: a unit, memory, and devices that do what they are told. It also
// tells what it did, which is how deviations of the other peer are recognised.
type Model struct {
	name string
	unit emu.Unit
	mach Machine
	mem  *tap
	f    *emu.Functional
	msgs []Message
	last emu.Result
	bare func(variant string) (emu.Unit, error) // another unit of the same capabilities, without caches
}

// NewModel returns a machine around u that offers m to programs. Memory ends where m's does; what lies
// beyond is a bus error. bare makes a unit of the
// same capabilities without caches, or a variant of it.
func NewModel(name string, u emu.Unit, m Machine, bare func(variant string) (emu.Unit, error)) *Model {
	p := &Model{name: name, unit: u, mach: m, bare: bare}
	p.start()
	return p
}

func (p *Model) start() {
	p.mem = &tap{Memory: mem.New()}
	p.mem.SetLimit(p.mach.RAM + emu.PA(p.mach.Size))
	p.f = emu.NewFunctional(p.unit, p.mem)
	p.f.OnMSI = func(addr emu.PA, data uint32) { p.msgs = append(p.msgs, Message{addr, data}) }
	p.msgs, p.last = nil, emu.Result{}
	if u, ok := p.unit.(pciUnit); ok && p.mach.MSI != nil {
		setMSI(u, p.mach.MSI)
	}
}

// pciUnit is a unit that is a PCI function.
type pciUnit interface {
	ReadConfig(off uint16, size uint8) uint32
	WriteConfig(off uint16, size uint8, v uint32)
}

// setMSI turns on the message of a function, as software does: in its MSI capability, which has a 64-bit
// address.
func setMSI(u pciUnit, m *Message) {
	const list, next, control, low, high, data = 0x34, 1, 2, 4, 8, 12
	const capMSI, enable = 0x05, 1
	for at := uint16(u.ReadConfig(list, 1)); at != 0; at = uint16(u.ReadConfig(at+next, 1)) {
		if u.ReadConfig(at, 1) == capMSI {
			u.WriteConfig(at+low, 4, uint32(m.Addr))
			u.WriteConfig(at+high, 4, uint32(m.Addr>>32))
			u.WriteConfig(at+data, 2, m.Data)
			u.WriteConfig(at+control, 2, enable)
			return
		}
	}
}

// Name implements Peer.
func (p *Model) Name() string { return p.name }

// Machine implements Peer.
func (p *Model) Machine() Machine { return p.mach }

// Close implements Peer.
func (p *Model) Close() error { return nil }

// Step implements Peer. Time means nothing here.
func (p *Model) Step(uint64) error { return nil }

// Reset implements Peer.
func (p *Model) Reset() error {
	p.unit.Reset(emu.ResetCold)
	p.start()
	return nil
}

// ReadReg implements Peer.
func (p *Model) ReadReg(off uint32, size uint8) (uint64, error) {
	return p.f.ReadReg(0, off, size), nil
}

// WriteReg implements Peer.
func (p *Model) WriteReg(off uint32, size uint8, v uint64) error {
	p.f.WriteReg(0, off, size, v)
	return nil
}

// Read implements Peer.
func (p *Model) Read(pa emu.PA, b []byte) error {
	if !p.mem.Memory.Read(pa, b) {
		return fmt.Errorf("%s: no memory at %#x", p.name, uint64(pa))
	}
	return nil
}

// Write implements Peer.
func (p *Model) Write(pa emu.PA, b []byte) error {
	if !p.mem.Memory.Write(pa, b) {
		return fmt.Errorf("%s: no memory at %#x", p.name, uint64(pa))
	}
	return nil
}

// request is what reaches the unit of an access.
func (p *Model) request(d *DMA) emu.Request {
	q := emu.Request{
		Addr: d.Addr, Source: p.mach.Devices[d.Device].Source, PASID: d.PASID,
		Len: uint32(len(d.Data)), Access: emu.Read,
	}
	if d.Write {
		q.Access = emu.Write
	}
	if len(d.Data) == 4 {
		q.Data = binary.LittleEndian.Uint32(d.Data)
	}
	return q
}

// DMA implements Peer. An access that was translated is carried out if there is memory at its end.
func (p *Model) DMA(d *DMA) (Outcome, error) {
	q := p.request(d)
	p.f.Translate(&q, &p.last)
	switch p.last.Status {
	case emu.Interrupt, emu.Posted:
		return Outcome{OK: true}, nil
	case emu.OK:
		return p.access(d), nil
	}
	return Outcome{}, nil
}

// access carries out what was translated. What is not aligned to its size is a bus error.
func (p *Model) access(d *DMA) Outcome {
	var v [4]uint64
	var b [8]byte
	size := uint8(len(d.Data))
	if d.Write {
		copy(b[:], d.Data)
		v[0] = binary.LittleEndian.Uint64(b[:])
		return Outcome{OK: p.mem.Memory.Store(p.last.PA, size, &v)}
	}
	ok := p.mem.Memory.Load(p.last.PA, size, &v)
	if ok {
		binary.LittleEndian.PutUint64(b[:], v[0])
		copy(d.Data, b[:])
	}
	return Outcome{OK: ok}
}

// Messages implements Peer.
func (p *Model) Messages() ([]Message, error) {
	m := p.msgs
	p.msgs = nil
	return m, nil
}

// word returns 8 bytes of memory; where there is none, 0.
func (p *Model) word(pa emu.PA) uint64 {
	v, _ := p.mem.Load64(pa)
	return v
}

// Result returns what the unit made of the last access of a device.
func (p *Model) Result() *emu.Result { return &p.last }

// forget starts a new record of what the unit does to memory.
func (p *Model) forget() { p.mem.seen = p.mem.seen[:0] }

// seen returns what the unit did to memory since forget.
func (p *Model) seen() []access { return p.mem.seen }

// access is one access of a unit to memory.
type access struct {
	pa    emu.PA
	size  uint8
	write bool
	ok    bool // no bus error
}

// tap is a memory that records what a unit does to it.
type tap struct {
	*mem.Memory
	seen []access
}

func (t *tap) note(pa emu.PA, size uint8, write, ok bool) bool {
	t.seen = append(t.seen, access{pa, size, write, ok})
	return ok
}

// Load implements emu.Memory.
func (t *tap) Load(pa emu.PA, size uint8, v *[4]uint64) bool {
	return t.note(pa, size, false, t.Memory.Load(pa, size, v))
}

// Store implements emu.Memory.
func (t *tap) Store(pa emu.PA, size uint8, v *[4]uint64) bool {
	return t.note(pa, size, true, t.Memory.Store(pa, size, v))
}

// CAS implements emu.Memory.
func (t *tap) CAS(pa emu.PA, size uint8, old, new, found *[4]uint64) (swapped, ok bool) {
	swapped, ok = t.Memory.CAS(pa, size, old, new, found)
	t.note(pa, size, true, ok)
	return swapped, ok
}

// Or implements emu.Memory.
func (t *tap) Or(pa emu.PA, bits uint64) (found uint64, ok bool) {
	found, ok = t.Memory.Or(pa, bits)
	t.note(pa, 8, true, ok)
	return found, ok
}
