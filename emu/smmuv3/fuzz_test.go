package smmuv3_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// The fuzz targets run whatever software may do. Nothing may panic, and nothing may go on for ever.

func fuzzConfig(kind uint8) change {
	return func(c *smmuv3.Config) {
		switch kind & 7 {
		case 1:
			*c, _ = smmuv3.Preset("full")
		case 2:
			*c, _ = smmuv3.Preset("minimal")
		case 3:
			*c, _ = smmuv3.Preset("qemu")
		case 4:
			*c, _ = smmuv3.Preset("3.0")
		case 5:
			c.StallModel = spec.StallAlways
			c.StallMax = 2
		case 6:
			c.TTENDIAN, c.FetchSize, c.BBML = spec.TTEndianBE, 16, 0
		}
		if kind&8 != 0 {
			noCaches(c)
		}
	}
}

func FuzzRegisters(f *testing.F) {
	f.Add(uint8(0), emutest.Words(spec.OffCR0|4<<32, ^uint64(0), 1<<63, spec.OffCMDQProd|4<<32, ^uint64(0)))
	f.Add(uint8(1), emutest.Words(spec.OffCMDQBase|8<<32, 0x10_001f, spec.OffCR0|4<<32, 8, spec.OffCMDQProd|4<<32, 0x7ffff))
	f.Add(uint8(2), emutest.Words(spec.OffSTRTABBase|8<<32, ^uint64(0), spec.OffSTRTABBaseCfg|4<<32, ^uint64(0), spec.OffCR0|4<<32, 0xf, 1<<63, 1<<63))
	f.Add(uint8(12), emutest.Words(0xffff_fffc|255<<32, ^uint64(0), spec.OffGBPA|4<<32, ^uint64(0), 1<<63))
	f.Add(uint8(5), emutest.Words(spec.OffIRQCtrl|4<<32, 7, spec.OffGERRORN|4<<32, ^uint64(0), spec.OffEVENTQProd|4<<32, ^uint64(0)))
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		in := &emutest.Input{B: b[:min(len(b), 4096)]}
		r := newRig(t, fuzzConfig(kind))
		r.attach(dev)
		for in.Left() {
			r.Guard()
			v := in.U64()
			off, size := uint32(v), uint8(v>>32)
			switch {
			case v>>63 != 0:
				r.Do(in.Request())
			case v>>62 != 0:
				r.u.ATSEnded(emu.SourceID(v), uint8(v>>32), v>>40&1 != 0)
			case v>>61 != 0:
				r.u.Reset(emu.ResetKind(v >> 40 & 1))
			default:
				if v>>60 == 0 { // mostly inside the window
					off &= spec.Window - 1
					if v>>59&1 == 0 {
						off &= spec.Page1 | 0xff
					}
				}
				r.F.WriteReg(0, off, size, in.U64())
				r.u.ReadReg(off, size)
			}
		}
	})
}

func FuzzCommands(f *testing.F) {
	for op := range uint64(0x48) {
		f.Add(uint8(1), uint64(4), emutest.Words(op|vmid<<32|asid<<48, iova, op|uint64(dev)<<32, 1, op|3<<12|0x1f<<20, 1<<10|iova, spec.CmdSync|1<<12, 0x9000))
	}
	f.Add(uint8(0), uint64(1<<63|48), emutest.Words(^uint64(0), ^uint64(0), spec.CmdSync))
	f.Fuzz(func(t *testing.T, kind uint8, prod uint64, b []byte) {
		r := newRig(t, fuzzConfig(kind)).enable()
		r.Guard()
		answers := kind >> 4
		r.F.OnATSInvalidate = func(*emu.Txn) bool { answers >>= 1; return answers&1 != 0 }
		r.interrupts(irqs(r))
		r.attach(dev, field{spec.CdS, uint64(kind >> 4 & 1)})
		for range 3 { // held, on a unit that stalls
			r.Do(dma(emu.Read))
		}
		in := &emutest.Input{B: b[:min(len(b), emu.PageSize)]}
		for off := emu.PA(0); in.Left(); off += 8 {
			r.Put(r.cmd+off, in.U64())
		}
		r.W32(spec.OffCMDQProd, prod)
		// Whatever stopped it: go on, as a stubborn driver would.
		for range 4 {
			r.Guard()
			r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
		}
		// Good commands still work.
		r.Guard()
		r.update(false, spec.Cr0CMDQEN)
		r.W32(spec.OffCMDQProd, 0)
		r.W32(spec.OffCMDQCons, 0)
		r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
		r.update(true, spec.Cr0CMDQEN)
		r.prod = 0
		r.push(sync()) // which may find that a device did not answer
		r.ring()
		r.W32(spec.OffGERRORN, r.R32(spec.OffGERROR))
		r.submit(cfgiAll(), sync())
	})
}

func FuzzWalk(f *testing.F) {
	f.Add(uint8(0), uint8(0), make([]byte, 64))
	full := make([]byte, 300)
	for i := range full {
		full[i] = byte(i*37) | 1
	}
	for kind := range uint8(16) {
		f.Add(kind, kind*17, full[kind:])
	}
	f.Fuzz(func(t *testing.T, kind, mode uint8, b []byte) {
		r := newRig(t, fuzzConfig(kind)).enable()
		in := &emutest.Input{B: b[:min(len(b), 1<<14)]}
		// A few good structures, then noise over all of them: pointers stay among the same pages.
		both := mode&1 != 0 && r.u.Config().S2P
		_, root := r.attach(dev, field{spec.CdHA, uint64(mode >> 1 & 1)}, field{spec.CdHD, uint64(mode >> 2 & 1)}, field{spec.CdS, uint64(mode >> 3 & 1)})
		r.mapPage(root, iova, 0x5000, s1RW)
		if both {
			s2 := r.Page()
			for p := emutest.First; p < r.Free; p += emu.PageSize {
				r.mapPage(s2, uint64(p), uint64(p), s2RW)
			}
			r.set(r.ste(dev), append(s2Fields(s2), field{spec.SteConfig, spec.ConfigNested}, field{spec.SteEATS, uint64(mode >> 4 & 3)})...)
		}
		n := uint64(r.Free-emutest.First) / 8
		for range len(in.B) / 10 {
			at := emutest.First + emu.PA(uint64(in.U8())<<8|uint64(in.U8()))%emu.PA(n)*8
			if v := in.U8(); v&7 == 0 { // the entries themselves
				at = r.ste(dev) + emu.PA(v>>3&3)*8
			}
			v := in.U64()
			if v&(1<<50) != 0 { // a pointer into the same pages
				v = v&^spec.TtdAddr.Mask() | uint64(emutest.First) + v>>12%(n/512)<<12
			}
			r.Put(at, v)
		}
		if in.U8()&1 != 0 {
			r.BusError(emutest.First+emu.PA(in.U8())*64, 64)
		}
		if c := r.u.Config(); c.ATS {
			r.update(mode>>6&1 != 0, spec.Cr0ATSCHK)
		}
		r.submit(cfgiAll(), command(spec.CmdTlbiNSNHAll), sync())
		for i := range 8 {
			r.Guard()
			q := in.Request()
			if i&1 == 0 {
				q.Source, q.Addr = dev, emu.IOVA(iova)
			}
			res := r.Do(q)
			if res.Status == emu.Pending && r.u.Config().StallModel == spec.StallNever {
				t.Fatalf("%+v did not end", q)
			}
		}
		r.Guard()
		r.update(false, spec.Cr0SMMUEN) // ends what is held
	})
}

// irqs are the interrupts that the unit has.
func irqs(r *rig) uint64 {
	if r.u.Config().PRI {
		return 7
	}
	return 5
}
