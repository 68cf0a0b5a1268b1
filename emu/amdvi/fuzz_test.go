package amdvi_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// The fuzz targets run whatever software may do. Nothing may panic, and nothing may go on for ever.

// request takes a request, or an interrupt with any index.
func request(in *emutest.Input) emu.Request {
	q := in.Request()
	if v := in.U8(); v&1 != 0 {
		q.Addr, q.Len, q.Access, q.Type = q.Addr&0xf_fffc|0xfee0_0000, 4, emu.Write, emu.Untranslated
		q.Data = uint32(v)<<3 | q.Data&7
	}
	return q
}

func fuzzConfig(kind uint8) func(*amdvi.Config) {
	return func(c *amdvi.Config) {
		switch kind & 3 {
		case 1:
			*c, _ = amdvi.Preset("full")
		case 2:
			*c, _ = amdvi.Preset("minimal")
		case 3:
			*c, _ = amdvi.Preset("qemu")
		}
		if kind&4 != 0 {
			noCaches(c)
		}
	}
}

func FuzzRegisters(f *testing.F) {
	f.Add(uint8(0), emutest.Words(spec.OffControl|8<<32, ^uint64(0), 1<<63, spec.OffCmdTail|8<<32, ^uint64(0)))
	f.Add(uint8(1), emutest.Words(spec.OffCmdBufBase|8<<32, 0x10_0000|15<<56, spec.OffControl|8<<32, 1|1<<12, spec.OffCmdTail|4<<32, 0x7fff0))
	f.Add(uint8(2), emutest.Words(spec.OffDevTabBase|8<<32, ^uint64(0), spec.OffControl|8<<32, ^uint64(0), 1<<63, 1<<63))
	f.Add(uint8(7), emutest.Words(0xffff_fffc|255<<32, ^uint64(0), spec.OffStatus|8<<32, ^uint64(0)))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		in := &emutest.Input{B: b[:min(len(b), 4096)]}
		r := newRig(t, fuzzConfig(kind))
		r.attach(dev, 3)
		for in.Left() {
			r.Guard()
			v := in.U64()
			off, size := uint32(v), uint8(v>>32)
			switch {
			case v>>63 != 0:
				r.Do(request(in))
			case v>>62 != 0:
				r.u.WriteConfig(uint16(v), uint8(v>>16), uint32(v>>24))
				r.u.ReadConfig(uint16(v>>8), uint8(v>>16))
			case v>>61 != 0:
				r.u.Reset(emu.ResetKind(v >> 40 & 1))
			default:
				if v>>60 == 0 { // mostly inside the window
					c := r.u.Config()
					off &= c.Window() - 1
				}
				r.F.WriteReg(0, off, size, in.U64())
				r.u.ReadReg(off, size)
			}
		}
	})
}

func FuzzCommands(f *testing.F) {
	w := wait(0x9000, 1)
	for code := range uint64(16) {
		f.Add(uint8(1), uint64(64), emutest.Words(op(code)|7<<32, 0x5000|invS, w[0]|2, w[1]))
	}
	f.Add(uint8(0), uint64(1<<63|48), emutest.Words(^uint64(0), ^uint64(0), w[0], w[1]))
	f.Fuzz(func(t *testing.T, kind uint8, tail uint64, b []byte) {
		r := newRig(t, fuzzConfig(kind)).enable()
		r.Guard()
		answers := kind >> 3
		r.F.OnATSInvalidate = func(*emu.Txn) bool { answers >>= 1; return answers&1 != 0 }
		r.messages()
		if tail>>63 != 0 {
			r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlInvTimeOut.Put(4))
		}
		in := &emutest.Input{B: b[:min(len(b), emu.PageSize)]}
		for off := emu.PA(0); in.Left(); off += 8 {
			r.Put(r.cmd+off, in.U64())
		}
		r.W64(spec.OffCmdTail, tail)
		// Whatever stopped it: restart it a few times, as a stubborn driver would.
		for range 4 {
			r.Guard()
			r.control(false, spec.CtlCmdBufEn)
			r.control(true, spec.CtlCmdBufEn)
		}
		if h := r.head(); h%16 != 0 || h >= emu.PageSize {
			t.Fatalf("the head is %#x", h)
		}
		// A good command still works.
		r.Guard()
		r.control(false, spec.CtlCmdBufEn)
		status := r.Page()
		r.Put(r.cmd, wait(status, 77)[0], 77)
		r.W32(spec.OffCmdHead, 0)
		r.W32(spec.OffCmdTail, 16)
		r.control(true, spec.CtlCmdBufEn)
		if r.Get(status) != 77 || !r.status(spec.StsCmdBufRun) {
			t.Fatal("the buffer is stuck")
		}
	})
}

func FuzzWalk(f *testing.F) {
	f.Add(uint8(0), uint8(3), make([]byte, 64))
	full := make([]byte, 256)
	for i := range full {
		full[i] = byte(i*37) | 1
	}
	f.Add(uint8(1), uint8(0x13), full)
	f.Add(uint8(1), uint8(0x10), full[:100])
	f.Add(uint8(5), uint8(0x93), full)
	f.Fuzz(func(t *testing.T, kind, mode uint8, b []byte) {
		r := newRig(t, fuzzConfig(kind)).enable()
		in := &emutest.Input{B: b[:min(len(b), 1<<14)]}
		// A few good structures, then noise over all of them: pointers stay among the same pages.
		if mode&0x10 != 0 && r.u.Config().GTSup {
			g := r.guests(4, 0, uint64(mode&3), giov, had(uint64(mode>>6)&3))
			if g.host != 0 && mode&3 == 3 || g.host == 0 {
				g.gmap(0, iova, 0x5000, gAll)
			}
			r.control(mode&0x20 != 0, spec.CtlGCR3TRPMode)
		} else {
			r.mapPage(r.attach(dev, 3), iova, 0x5000, pRW)
		}
		first := emu.PA(0x10_0000)
		n := uint64(r.Free-first) / 8
		for range len(in.B) / 10 {
			at := first + emu.PA(uint64(in.U8())<<8|uint64(in.U8()))%emu.PA(n)*8
			v := in.U64()
			if v&(1<<51) != 0 { // a pointer into the same pages
				v = v&^spec.PteAddr.Mask() | uint64(first) + v>>12%(n/512)<<12
			}
			r.Put(at, v)
		}
		if in.U8()&1 != 0 {
			r.BusError(first+emu.PA(in.U8())*64, 64)
		}
		r.control(kind&0x20 != 0, spec.CtlGAEn, spec.CtlPPREn, spec.CtlPPRLogEn, spec.CtlGALogEn)
		r.submit(invAll())
		for i := range 8 {
			r.Guard()
			q := request(in)
			if i&1 == 0 {
				q.Source, q.Addr = dev, emu.IOVA(iova)
			}
			if res := r.Do(q); res.Status == emu.Pending {
				t.Fatalf("%+v did not end", q)
			}
		}
	})
}

// Whatever the interrupt half of a DTE, the table and the message are: the interrupt passes, is remapped,
// posted or blocked, and a blocked one is in the log or has a reason not to be.
func FuzzInterrupts(f *testing.F) {
	f.Add(uint8(0), uint64(spec.IntCtlRemap<<60|9<<1|1), []byte("\x01\x10\x41"))
	f.Add(uint8(1), uint64(spec.IntCtlRemap<<60|11<<1|1), make([]byte, 64))
	f.Add(uint8(7), ^uint64(0), emutest.Words(irteEn|irteGuest, 0x41, 0x5000, 1<<20))
	f.Fuzz(func(t *testing.T, kind uint8, half uint64, b []byte) {
		r := fullRig(t)
		r.control(kind&1 != 0, spec.CtlGAEn)
		r.control(kind&2 != 0, spec.CtlXTEn)
		if kind&4 != 0 {
			r.W64(spec.OffControl, r.R64(spec.OffControl)|spec.CtlGAMEn.Put(1)|spec.CtlNumIntRemapMode.Put(1))
		}
		r.galog()
		table := r.remapped(9)
		r.Put(r.dte(dev)+16, half&^spec.DteIRTRoot.Mask()|uint64(table), uint64(kind>>3)<<44)
		in := &emutest.Input{B: b[:min(len(b), 4096)]}
		for off := emu.PA(0); in.Left() && off < 4*emu.PageSize; off += 8 {
			r.Put(table+off, in.U64())
		}
		in = &emutest.Input{B: b}
		for range 8 {
			r.Guard()
			v := in.U64()
			q := emu.Request{Source: dev, Addr: emu.IOVA(0xfee0_0000 | v&0xf_fffc), PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: uint32(v >> 20)}
			tail := r.R64(spec.OffEventTail)
			res := r.Do(q)
			logged := r.R64(spec.OffEventTail) != tail
			switch res.Status {
			case emu.Interrupt, emu.Posted:
				if logged {
					t.Fatalf("%+v: delivered, with an event", q)
				}
			case emu.Blocked:
				if f := res.Fault; logged == (f.Quiet || f.Dropped) {
					t.Fatalf("%+v: fault %#x, quiet %v, dropped %v, logged %v", q, f.Code, f.Quiet, f.Dropped, logged)
				}
			default:
				t.Fatalf("%+v: status %d", q, res.Status)
			}
		}
	})
}
