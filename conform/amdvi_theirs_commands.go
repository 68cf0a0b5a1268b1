package conform

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// run executes the command buffer up to its tail, whatever it meets.
func (f *amdStory) run() {
	s := f.s
	if !f.control(spec.CtlIommuEn) || !f.control(spec.CtlCmdBufEn) {
		return
	}
	if spec.CtlCmdBufEn.On(f.c.was(ours, spec.OffControl)) && !spec.StsCmdBufRun.On(f.c.was(ours, spec.OffStatus)) {
		f.dev(amdErrorsGoOn) // ours stands
	}
	if uint64(s.cmdBase) != f.ours(spec.OffCmdBufBase)&spec.RingBase.Mask() && s.head != s.tail {
		f.dev(amdBaseHalves)
	}
	for n := 0; s.head != s.tail && n < 1<<16; n++ {
		f.command(s.cmdBase + emu.PA(s.head))
		s.head += spec.CommandSize
		if s.head >= s.cmdLen {
			s.head = 0
		}
		f.setReg(spec.OffCmdHead, s.head)
	}
	if f.reg(spec.OffCmdHead) != f.ours(spec.OffCmdHead) {
		f.shortRings()
	}
}

// command executes the command at an address.
func (f *amdStory) command(at emu.PA) {
	lo, ok := f.load(at)
	hi, _ := f.load(at + 8)
	if !ok {
		f.dev(amdErrorsGoOn)
		f.record(spec.EventCommandHW, 0, 0)
		return
	}
	op := spec.CmdOpcode.Of(lo)
	w := []uint64{lo, hi}
	if f.oursRefuses(op, w) {
		f.dev(amdErrorsGoOn)
	}
	if bad := f.refuses(op, w); bad {
		f.record(spec.EventIllegalCommand, op<<48, 0)
		if op == 0 || op > spec.CmdInvalidateAll || op == spec.CmdInvalidateIOTLB || op == spec.CmdInvalidateIntTable {
			return // the others are executed all the same
		}
	} else if f.oursRefuses(op, w) {
		f.dev(amdCommandBits)
	}
	f.execute(op, w)
}

// amdCommandChecks are the bits that must be 0, by opcode, as QEMU has them.
var amdCommandChecks = map[uint64][2]uint64{
	spec.CmdCompletionWait:     {0xff << 52, 0},
	spec.CmdInvalidateDevtab:   {0xfff_ffff_ffff << 16, ^uint64(0)},
	spec.CmdInvalidatePages:    {0xfff<<20 | 0xfff<<48, 0xff8},
	spec.CmdInvalidateIOTLB:    {0, 2 | 8 | 0xfc0},
	spec.CmdInvalidateIntTable: {0xfff_ffff_ffff << 16, ^uint64(0)},
	spec.CmdPrefetchPages:      {0xff<<16 | 0xff<<52, 2 | 8 | 0xfe0},
	spec.CmdCompletePPR:        {0xffff<<16 | 0xff<<52, 3 | 0xffff_fff8 | 0xffff<<48},
	spec.CmdInvalidateAll:      {0xfff_ffff_ffff_ffff, ^uint64(0)},
}

// refuses reports whether the other unit reports a command as illegal.
func (f *amdStory) refuses(op uint64, w []uint64) bool {
	m, known := amdCommandChecks[op]
	return !known || w[0]&m[0]|w[1]&m[1] != 0
}

// oursRefuses reports whether our unit does.
func (f *amdStory) oursRefuses(op uint64, w []uint64) bool {
	l := spec.CmdLayouts[op]
	if l == nil || op > spec.CmdInvalidateAll {
		return true
	}
	r := l.Reserved(slices.Clone(w))
	if op == spec.CmdInvalidateIOTLB {
		r[1] |= w[1] & spec.ItType.Mask() // without InvIotlbTypeSup
	}
	return r[0]|r[1] != 0
}

func (f *amdStory) execute(op uint64, w []uint64) {
	switch op {
	case spec.CmdCompletionWait:
		f.wait(w)
	case spec.CmdInvalidateDevtab:
		f.devtab(spec.CmdDeviceID.Of(w[0]))
	case spec.CmdInvalidatePages:
		did := spec.IpDomainID.Of(w[0])
		f.forget(func(_ amdKey, e amdTLB) bool { return e.domain == did })
	case spec.CmdInvalidateIOTLB:
		if spec.CtlInvTimeOut.Of(f.ours(spec.OffControl)) != 0 {
			f.dev(amdNoTimeOut)
		}
		f.forget(func(k amdKey, _ amdTLB) bool {
			return uint64(f.c.prog.Devices[k.device]) == spec.CmdDeviceID.Of(w[0]) && (spec.CmdS.On(w[1]) || k.page == w[1]>>12)
		})
	case spec.CmdInvalidateAll:
		f.forget(func(amdKey, amdTLB) bool { return true })
	}
}

func (f *amdStory) forget(which func(amdKey, amdTLB) bool) {
	for k, e := range f.s.tlb {
		if which(k, e) {
			delete(f.s.tlb, k)
		}
	}
}

// wait is COMPLETION_WAIT.
func (f *amdStory) wait(w []uint64) {
	if spec.CwS.On(w[0]) {
		at := emu.PA(w[0] & spec.CwAddr.Mask())
		if _, ok := f.load(at); ok {
			f.words[at] = w[1]
		} else {
			f.dev(amdErrorsGoOn)
		}
	}
	if !spec.CwI.On(w[0]) {
		return
	}
	if f.status(spec.StsComWaitInt) {
		f.dev(amdMessageForEach)
	}
	if !f.control(spec.CtlComWaitIntEn) {
		f.dev(amdComWaitEnable)
	}
	f.setStatus(spec.StsComWaitInt, true)
	f.send()
}

// devtab is INVALIDATE_DEVTAB_ENTRY: the entry is read, and decides whether the device is passed through
// from now on.
func (f *amdStory) devtab(id uint64) {
	i := slices.Index(f.c.prog.Devices, emu.SourceID(id))
	if i < 0 {
		return
	}
	e, ok := f.entry(id, readByCommand)
	f.s.remap[uint8(i)] = !ok || !amdPasses(e)
}

// amdPasses reports whether an entry lets a device pass: there is none, or it has no tables.
func amdPasses(e []uint64) bool {
	return !spec.DteV.On(e[0]) || spec.DteTV.On(e[0]) && spec.DteMode.Get(e) == 0
}

// amdReader says who reads a device table entry.
type amdReader uint8

const (
	readByAccess amdReader = iota
	readByInterrupt
	readByCommand // which ours never does
)

// entry reads a device table entry. If it cannot be used an event says so.
func (f *amdStory) entry(id uint64, by amdReader) ([]uint64, bool) {
	e, ok := amdEntry(f.load, f.s.devTab, id)
	if ok {
		return e, true
	}
	if by == readByCommand {
		f.dev(amdCommandReadsEntry)
	}
	if e == nil {
		f.record(spec.EventDevTabHW, 0, id)
		return nil, false
	}
	counts := spec.DteV.On(e[0]) && e[0]&amdReserved[0] != 0
	if by == readByInterrupt {
		counts = spec.DteIV.On(e[2]) && (e[2]&amdReserved[2] != 0 || e[3]&amdReserved[3] != 0)
	}
	if !counts {
		f.dev(amdReservedAlways)
	}
	f.record(spec.EventIllegalDTE, 0, id)
	return nil, false
}

// amdEntry reads a device table entry. It is nil if it cannot be read, and of no use if it has bits set
// that QEMU takes for reserved.
func amdEntry(load func(emu.PA) (uint64, bool), table emu.PA, id uint64) (e []uint64, ok bool) {
	reserved := uint64(0)
	for i := range amdReserved {
		w, ok := load(table + emu.PA(id*spec.DTESize) + emu.PA(8*i))
		if !ok {
			return nil, false
		}
		e = append(e, w)
		reserved |= w & amdReserved[i]
	}
	return e, reserved == 0
}

// amdReserved are the bits of device table entries that QEMU wants to be 0, of either half whatever V and
// IV say.
var amdReserved = [4]uint64{1<<63 | 0x7c, 0, 3 << 52, 0x3f<<48 | 0x7fff}
