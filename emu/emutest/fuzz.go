package emutest

import (
	"encoding/binary"

	"github.com/iommulab/iommulab/emu"
)

// stepLimit is far above the steps that anything within what fuzz targets do can need.
const stepLimit = 1 << 17

// Guard makes the test fail when what the rig's executor does from now on does not come to an end.
func (r *Rig) Guard() {
	steps := 0
	r.F.Trace = func(*emu.Txn) {
		if steps++; steps > stepLimit {
			r.T.Fatal("the unit does not come to an end")
		}
	}
	r.F.OnMSI = func(emu.PA, uint32) {}
}

// Input is the bytes of a fuzz target, taken from the front. Behind the end it is all zeros.
type Input struct{ B []byte }

// U64 takes 8 bytes.
func (in *Input) U64() (v uint64) {
	var w [8]byte
	n := copy(w[:], in.B)
	in.B = in.B[n:]
	return binary.LittleEndian.Uint64(w[:])
}

// U8 takes one byte.
func (in *Input) U8() uint8 {
	if len(in.B) == 0 {
		return 0
	}
	v := in.B[0]
	in.B = in.B[1:]
	return v
}

// Left reports whether there is more.
func (in *Input) Left() bool { return len(in.B) > 0 }

// Request takes a request: any address, type and rights, one of 1024 sources.
func (in *Input) Request() emu.Request {
	v := in.U64()
	q := emu.Request{
		Source: emu.SourceID(v & 0x3ff), Addr: emu.IOVA(in.U64()), PASID: emu.NoPASID,
		Len: uint32(v >> 16 & 15), Access: emu.Access(v >> 24), Type: emu.ReqType(v >> 32 & 3), Data: uint32(v >> 34 & 0x3ff),
	}
	if v>>40&1 != 0 {
		q.PASID = emu.PASID(v >> 44)
	}
	return q
}

// Words are the bytes of words.
func Words(v ...uint64) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// Mutate returns b with pieces of it overwritten, as input says.
func Mutate(b []byte, in *Input) []byte {
	b = append([]byte(nil), b...)
	for in.Left() && len(b) > 0 {
		at := int(in.U8())<<16 | int(in.U8())<<8 | int(in.U8())
		n := int(in.U8()%9) + 1
		v := in.U64()
		for i := range n {
			b[(at+i)%len(b)] = byte(v >> (8 * i & 63))
		}
	}
	return b
}

// Exercise makes requests and engine runs on a unit whose state may be anything: they end, and nothing
// panics.
func (r *Rig) Exercise(in *Input, window uint32) {
	r.Guard()
	for i := range 8 {
		q := in.Request()
		if res := r.Do(q); res.Status == emu.Pending {
			r.T.Fatalf("%+v did not end", q)
		}
		off := uint32(in.U64()) & (window - 1) &^ 7
		if i&1 == 0 {
			r.F.WriteReg(0, off, 8, in.U64())
		}
		r.Unit.ReadReg(off, 8)
	}
	Save(r.Unit)
	r.Unit.Reset(emu.ResetCold)
	r.Do(in.Request())
}
