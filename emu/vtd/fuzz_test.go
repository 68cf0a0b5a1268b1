package vtd_test

import (
	"encoding/binary"
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// The fuzz targets run whatever software may do. Nothing may panic, and nothing may go on for ever.

func fuzzConfig(kind uint8) func(*vtd.Config) {
	return func(c *vtd.Config) {
		c.CM, c.DT, c.DIT, c.RWBF = kind&1 != 0, kind&2 != 0, kind&4 != 0, kind&8 != 0
		c.ESRTPS, c.CompressFaults = kind&16 != 0, kind&32 != 0
		if kind&4 != 0 { // counters too, that overflow soon
			pms(2, narrow)(c)
		}
		c.PRS, c.PDS, c.SMS, c.PTRS = c.DT, c.DT && kind&4 != 0, c.DT && kind&8 != 0, c.DT && kind&1 != 0
		if kind&64 != 0 {
			c.NoScalable()
		}
		if kind&128 != 0 {
			noCaches(c)
		}
	}
}

func FuzzRegisters(f *testing.F) {
	word := emutest.Words
	f.Add(uint8(0), word(spec.OffGCMD|4<<32, spec.GcmdTE.Mask()|spec.GcmdSRTP.Mask()|spec.GcmdQIE.Mask(), 1<<63))
	f.Add(uint8(3), word(spec.OffIQA|8<<32, 0x10_0007, spec.OffGCMD|4<<32, spec.GcmdQIE.Mask(), spec.OffIQT|8<<32, 0x7fff0))
	f.Add(uint8(9), word(spec.OffCCMD|8<<32, ^uint64(0), 0x508|8<<32, ^uint64(0), spec.OffPMEN|4<<32, ^uint64(0)))
	f.Add(uint8(7), word(spec.OffPQA|8<<32, 0x20_0007, spec.OffPQT|8<<32, 0x7ffe0, spec.OffPRS|4<<32, 3, spec.OffPECTL|4<<32, 0))
	f.Add(uint8(255), word(0x600|8<<32, ^uint64(0), 0xffff_fffc|255<<32, ^uint64(0)))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		in := &emutest.Input{B: b[:min(len(b), 4096)]}
		r := newRig(t, fuzzConfig(kind))
		r.attach(sid, 7)
		for in.Left() {
			r.Guard()
			v := in.U64()
			off, size := uint32(v), uint8(v>>32)
			switch {
			case v>>63 != 0:
				r.Do(in.Request())
			case v>>62 != 0:
				r.F.Wake(r.u.UnexpectedATSCompletion(emu.SourceID(v)))
				r.F.Wake(r.u.ATSEnded(emu.SourceID(v), uint8(v>>16), v>>24&1 != 0))
			case v>>61 != 0:
				r.u.Reset(emu.ResetKind(v >> 40 & 1))
			default:
				if v>>60 == 0 { // mostly inside the window
					off &= r.window() - 1
				}
				r.F.WriteReg(0, off, size, in.U64())
				r.u.ReadReg(off, size)
			}
		}
	})
}

func FuzzQueue(f *testing.F) {
	w, a := wait(1, 0x9000)
	for _, lo := range []uint64{w, ccInv(3, 7, 8, 3), iotlbInv(3, 7), pcInv(1, 7, 5), 0, ^uint64(0),
		spec.PutDescType(spec.DescDevTLB), spec.PutDescType(spec.DescPASIDDevTLB), spec.PutDescType(spec.DescPageGroup) | spec.PgPP.Put(1), w | spec.IwPD.Mask(), spec.PutDescType(spec.DescPASIDIOTLB) | spec.PiG.Put(3)} {
		var b []byte
		for _, v := range []uint64{lo, a, 0, 0, w | spec.IwIF.Mask(), a, 0, 0} {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		f.Add(uint8(2), uint8(1), uint64(64), b)
		f.Add(uint8(3), uint8(0), uint64(32), b)
	}
	f.Fuzz(func(t *testing.T, kind, mode uint8, tail uint64, b []byte) {
		r := newRig(t, fuzzConfig(kind))
		r.Guard()
		answers := mode >> 4
		r.F.OnATSInvalidate = func(*emu.Txn) bool { answers >>= 1; return answers&1 != 0 }
		r.unmask()
		if mode&2 != 0 {
			r.setRoot(uint64(mode >> 2 & 3))
		}
		r.queue(mode&1 != 0)
		in := &emutest.Input{B: b[:min(len(b), emu.PageSize)]}
		for off := emu.PA(0); in.Left(); off += 8 {
			r.Put(r.iq+off, in.U64())
		}
		r.W64(spec.OffIQT, tail)
		// Whatever stopped it: clear the error a few times, as a stubborn driver would.
		for range 4 {
			r.Guard()
			r.W32(spec.OffFSTS, ^uint64(0)>>32)
		}
		if h := r.head(); h%16 != 0 || h >= uint64(emu.PageSize)<<spec.IqaQS.Of(r.R64(spec.OffIQA)) {
			t.Fatalf("IQH is %#x", h)
		}
		// A good descriptor still works.
		r.W32(spec.OffFSTS, ^uint64(0)>>32)
	})
}

func FuzzWalk(f *testing.F) {
	f.Add(uint8(0), false, make([]byte, 64))
	full := make([]byte, 256)
	for i := range full {
		full[i] = byte(i*37) | 1
	}
	f.Add(uint8(3), true, full)
	f.Add(uint8(1), true, full[:100])
	for _, mode := range []byte{4, 5, 12, 6, 14, 22} { // nested and first-stage ones
		f.Add(uint8(0), true, append([]byte{mode}, make([]byte, 40)...))
		f.Add(mode, true, append([]byte{mode}, full...))
	}
	f.Fuzz(func(t *testing.T, kind uint8, sm bool, b []byte) {
		r := newRig(t, fuzzConfig(kind))
		in := &emutest.Input{B: b[:min(len(b), 1<<14)]}
		// A few good structures, then noise over all of them: pointers stay among the same pages.
		switch m := in.U8(); {
		case !sm:
			r.mapPage(r.attach(sid, 7), iova, 0x5000, ssRW)
			r.legacy()
		case m&6 == 4 && kind&64 == 0:
			g := r.nest(sid, 0, 7, 0, with(spec.PasidSSADE, uint64(m&1)), with(spec.PasidFSPM, uint64(m>>3&1)))
			g.mapTwo(iova, 0x12_3000, 0x5000)
			r.scalable()
		case m&6 == 6 && kind&64 == 0:
			r.fsMap(r.first(sid, 0, 7, with(spec.PasidFSPM, uint64(m>>3&1)), with(spec.PasidNXE, uint64(m>>4&1))), iova, 0x5000, fsRWU)
			r.scalable()
		default:
			r.mapPage(r.bind(sid, 0, spec.PGTTSecond, 7, with(spec.PasidSSADE, uint64(m&1))), iova, 0x5000, ssRW)
			r.scalable()
		}
		first := emu.PA(0x10_0000)
		n := uint64(r.Free-first) / 8
		for range len(in.B) / 10 {
			at := first + emu.PA(uint64(in.U8())<<8|uint64(in.U8()))%emu.PA(n)*8
			v := in.U64()
			if v&(1<<63) != 0 { // a pointer into the same pages
				v = uint64(first) + v>>12%(n/512)<<12 | v&0xfff
			}
			r.Put(at, v)
		}
		if in.U8()&1 != 0 {
			r.BusError(first+emu.PA(in.U8())*64, 64)
		}
		for i := range 8 {
			r.Guard()
			q := in.Request()
			if i&1 == 0 {
				q.Source, q.Addr = sid, iova
			}
			res := r.Do(q)
			if res.Status == emu.Pending {
				t.Fatalf("%+v did not end", q)
			}
			if res.Status == emu.OK && res.Perm != 0 && res.PA&^(1<<48-1) != 0 {
				t.Fatalf("%+v: output %#x is beyond the host width", q, res.PA)
			}
		}
	})
}

// Whatever software does to the page-request queue: a page request is written where PQT stood, or it
// is not and PQT stays; and who is last of a group is answered once, by hardware or not at all.
func FuzzPageRequests(f *testing.F) {
	f.Add(uint8(0), []byte("\x00\x01\x02\x03\x04\x05\x06\x07page requests"))
	full := make([]byte, 1200)
	for i := range full {
		full[i] = byte(i * 41)
	}
	f.Add(uint8(1), full)
	f.Add(uint8(2), make([]byte, 400))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		r := newPRQ(t, uint64(kind&1))
		if kind&2 != 0 {
			r.rig.BusError(r.at+emu.PA(kind)<<5, 64)
		}
		in := &emutest.Input{B: b[:min(len(b), 1<<14)]}
		for in.Left() {
			r.Guard()
			op, v := in.U8(), in.U64()
			if op >= 0x80 {
				reg := []uint32{spec.OffPQH, spec.OffPQT, spec.OffPRS, spec.OffPECTL, spec.OffPQA, spec.OffPEDATA, spec.OffGCMD, spec.OffPQA + 4}[op&7]
				if reg == spec.OffPQA { // mostly where there is memory
					v = uint64(r.at) | v&7
				}
				r.F.WriteReg(0, reg, 4+op>>3&4, v)
				continue
			}
			size := uint64(emu.PageSize) << spec.PqaPQS.Of(r.R64(spec.OffPQA))
			at := emu.PA(r.R64(spec.OffPQA)&spec.PqaPQA.Mask() + r.R64(spec.OffPQT)%size)
			tail, answered := r.R64(spec.OffPQT), len(r.sent)
			q := emu.Request{Source: sid, Addr: emu.IOVA(v &^ 0xfff), PASID: emu.PASID(v & 7), Access: emu.Access(op), Type: emu.PageRequest, Data: uint32(v & 0x3ff)}
			on := spec.GstsTES.On(r.R32(spec.OffGSTS))
			res := r.Do(q)
			_, last := q.PRG()
			switch {
			case res.Status == emu.OK:
				if got := r.Get(at + 8); got&^0xfff != uint64(q.Addr) || r.R64(spec.OffPQT) != (tail%size+32)%size || len(r.sent) != answered {
					t.Fatalf("%+v at %#x: %#x, PQT %#x to %#x", q, at, got, tail, r.R64(spec.OffPQT))
				}
			case r.R64(spec.OffPQT) != tail:
				t.Fatalf("%+v was not written, PQT %#x to %#x", q, tail, r.R64(spec.OffPQT))
			case len(r.sent)-answered != map[bool]int{true: 1}[on && last && q.Access&emu.RW != 0]:
				t.Fatalf("%+v got %d answers", q, len(r.sent)-answered)
			}
		}
	})
}
