package vtd_test

import (
	"encoding/binary"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/iotlb"
)

// irqInput is what FuzzInterrupt makes of its bytes.
type irqInput struct {
	kind    uint8 // 0 PI, 1 EIM, 2 no cache, 3 IRE, 4 CFI, 5 EIME, 6 the entry is put to the index asked for, 7 IRREQ, EIMER
	size    uint64
	entry   [2]uint64
	control uint64 // of the posted-interrupt descriptor
	high    uint64 // another word of it
	addr    uint64
	data    uint32
	source  emu.SourceID
}

// expect is what 5.1 and 5.2 say of an interrupt request, written down once more without the unit's
// tables: status, message, fault.
func (in *irqInput) expect() (st emu.Status, addr uint64, data uint32, code uint16) {
	bit := func(n uint8) bool { return in.kind>>n&1 != 0 }
	eime := bit(1) && bit(5)
	fault := func(c uint16) (emu.Status, uint64, uint32, uint16) { return emu.Blocked, 0, 0, c }
	msg := func(dest, vector uint64) (uint64, uint32) {
		if !eime {
			dest = dest >> 8 & 0xff
		}
		return dest>>8<<40 | 0xfee0_0000 | dest&0xff<<12, uint32(0x4000 | vector)
	}
	switch {
	case bit(7) && !bit(3):
		return fault(0x2b)
	case bit(7) && bit(3) && bit(1) && !eime:
		return fault(0x2a)
	}
	if !bit(3) || in.addr&0x10 == 0 {
		if bit(3) && (eime || !bit(4)) {
			return fault(0x25)
		}
		return emu.Interrupt, in.addr, in.data, 0
	}
	index, ok := in.index()
	lo, hi := in.entry[0], in.entry[1]
	if !bit(6) {
		lo, hi = 0, 0
	}
	posted := lo>>15&1 != 0
	var rsvd bool
	switch {
	case posted:
		rsvd = !bit(0) || lo&0x0000_003f_ff00_30fc != 0 || hi&0xfff0_0000 != 0
	default:
		rsvd = lo&0xff00_7000 != 0 || hi>>20 != 0 || !eime && lo>>32&0xffff_00ff != 0
	}
	bus, first, last := uint64(in.source>>8), hi>>8&0xff, hi&0xff
	var known bool
	switch hi >> 18 & 3 {
	case 0:
		known = true
	case 1:
		known = (uint64(in.source)^hi&0xffff)&^(7&^(7>>(hi>>16&3))) == 0
	case 2:
		known = first <= bus && bus <= last
	}
	w := in.control
	switch {
	case !ok:
		return fault(0x20)
	case index >= 2<<in.size:
		return fault(0x21)
	case lo&1 == 0:
		return fault(0x22)
	case !known:
		return fault(0x26)
	case rsvd:
		return fault(0x24)
	case !posted:
		addr, data = msg(lo>>32, lo>>16&0xff)
		return emu.Interrupt, addr | lo&8 | lo&4, data | uint32(lo>>5&7)<<8 | uint32(lo>>4&1)<<15, 0
	case lo>>38<<6|hi>>32<<32 != uint64(pidAt):
		return fault(0x27)
	case w&0xff00_fffc != 0, in.high != 0, !eime && w>>32&0xffff_00ff != 0:
		return fault(0x28)
	case w&1 != 0, w&2 != 0 && lo>>14&1 == 0:
		return emu.Posted, uint64(pidAt), 0, 0
	}
	addr, data = msg(w>>32, w>>16&0xff)
	return emu.Interrupt, addr, data, 0
}

// index is the entry asked for; false if the data has reserved bits.
func (in *irqInput) index() (uint64, bool) {
	i := in.addr>>5&0x7fff | in.addr>>2&1<<15
	if in.addr&8 == 0 {
		return i, true
	}
	return (i + uint64(in.data)) & 0xffff, in.data>>16 == 0
}

func FuzzInterrupt(f *testing.F) {
	add := func(kind uint8, v ...uint64) {
		var b []byte
		for _, w := range v {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
		f.Add(kind, b)
	}
	const on, here = 1 << 3, 1 << 6
	e, p := irte(0x41), postedIRTE(0xa3, pidAt)
	add(on|here, 4, e[0], e[1], 0, 0, handle(5), 0, uint64(sid))
	add(on|here|3, 15, e[0]|8, e[1]|1<<18|uint64(sid), 0, 0, handle(0xffff)|8, 6, uint64(sid))
	add(on|here|1|2|32, 4, p[0], p[1], control(0, true), 0, handle(5), 0, uint64(sid))
	add(on|here|1, 4, p[0]|1<<14, p[1], control(pidSN, false), 0, handle(5), 0, uint64(sid))
	add(on|here|1|4, 4, p[0], p[1], control(pidON, false), 1, handle(5), 0, uint64(sid))
	add(on|here|4, 4, e[0], e[1]|2<<18|0x0205, 0, 0, handle(5), 0, uint64(sid))
	add(on|16, 4, e[0], e[1], 0, 0, 0xfee0_1000, 0x31, uint64(sid))
	add(0, 0, 0, 0, 0, 0, 0, 0, 0)
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		raw := &emutest.Input{B: b}
		in := irqInput{kind: kind, size: raw.U64() & 15, entry: [2]uint64{raw.U64(), raw.U64()}, control: raw.U64(), high: raw.U64()}
		in.addr, in.data, in.source = 0xfee0_0000|raw.U64()&0xffffc, uint32(raw.U64()), emu.SourceID(raw.U64()&0xffff)
		r := newRig(t, func(c *vtd.Config) {
			c.PI, c.EIM = kind&1 != 0, kind&2 != 0
			c.IRREQ, c.EIMER = kind&128 != 0, kind&128 != 0 && c.EIM
			if kind&4 != 0 {
				c.InterruptCache = iotlb.Geometry{}
			}
		})
		r.Guard()
		// The one descriptor is at pidAt, and nothing else answers up there.
		r.BusError(0x1_0000_0000, uint64(pidAt-0x1_0000_0000))
		r.BusError(pidAt+64, 1<<60)
		table := r.setIRTA(in.size, kind&32 != 0)
		r.command(spec.GcmdIRE, kind&8 != 0)
		r.command(spec.GcmdCFI, kind&16 != 0)
		index, _ := in.index()
		if kind&64 != 0 && index < 2<<in.size {
			r.putIRTE(table, int(index), in.entry)
		}
		low := in.entry[0]>>38<<6 | in.entry[1]>>32<<32
		if low < 0x1_0000_0000 && in.entry[0]>>15&1 != 0 {
			t.Skip("the descriptor lies among the test's own structures")
		}
		r.Put(pidAt, 0, 0, 0, 0, in.control, in.high, 0, 0)
		st, addr, data, code := in.expect()
		for pass := range 2 { // from memory; from the cache
			res := r.Do(write4(in.source, in.addr, in.data))
			if res.Status != st || res.Fault.Code != code || st != emu.Blocked && (uint64(res.PA) != addr || res.Data != data) {
				t.Fatalf("pass %d, %+v: status %d, %#x %#x, fault %#x, want status %d, %#x %#x, fault %#x",
					pass, in, res.Status, uint64(res.PA), res.Data, res.Fault.Code, st, addr, data, code)
			}
			posted := in.entry[0]>>15&1 != 0 && st != emu.Blocked && in.addr&16 != 0 && kind&8 != 0
			v := in.entry[0] >> 16 & 0xff
			if got := r.Get(pidAt+emu.PA(v/64*8))>>(v%64)&1 != 0; got != posted {
				t.Fatalf("%+v: request bit %v, want %v", in, got, posted)
			}
			if pass == 0 && posted && st == emu.Interrupt { // a notification is outstanding now
				if r.Get(pidAt+32) != in.control|1 {
					t.Fatalf("%+v: control word %#x", in, r.Get(pidAt+32))
				}
				st, addr, data = emu.Posted, uint64(pidAt), 0
			}
		}
	})
}
