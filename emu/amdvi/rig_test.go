package amdvi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/reg"
)

// rig is a unit on a memory with the tables that tests need.
type rig struct {
	*emutest.Rig
	u    *amdvi.Unit
	dev  emu.PA // device table
	cmd  emu.PA // command buffer
	log  emu.PA // event log
	tail uint64
}

const (
	dev     = emu.SourceID(0x0310)
	other   = emu.SourceID(0x0390)
	iova    = uint64(0x1234_5000)
	msiTo   = 0xfee0_1000
	msiData = 0x41
	did     = 7
)

func newRig(t testing.TB, change ...func(*amdvi.Config)) *rig {
	c := amdvi.DefaultConfig()
	for _, f := range change {
		f(&c)
	}
	u, err := amdvi.New(c)
	require.NoError(t, err)
	r := &rig{Rig: emutest.New(t, u), u: u}
	r.Faults = faults
	r.dev = r.Pages(64)
	r.W64(spec.OffDevTabBase, uint64(r.dev)|63)
	return r
}

// become makes u the rig's unit.
func (r *rig) become(u *amdvi.Unit) {
	r.u = u
	r.Use(u)
}

// control sets fields of Control to all ones, or clears them.
func (r *rig) control(on bool, fields ...reg.Bits) {
	v := r.R64(spec.OffControl)
	for _, b := range fields {
		v &^= b.Mask()
		if on {
			v |= b.Mask()
		}
	}
	r.W64(spec.OffControl, v)
}

func (r *rig) status(b reg.Bits) bool { return b.On(r.R64(spec.OffStatus)) }

// enable turns the unit on as a driver does: rings, then IommuEn.
func (r *rig) enable() *rig {
	r.cmd, r.log = r.Pages(1), r.Pages(1)
	r.tail = 0
	r.base(spec.OffCmdBufBase, r.cmd, spec.MinRingLen)
	r.base(spec.OffEventLogBase, r.log, spec.MinRingLen)
	r.control(true, spec.CtlEventLogEn, spec.CtlCmdBufEn, spec.CtlGTEn)
	r.control(true, spec.CtlIommuEn)
	return r
}

// base writes a ring's base register as x86 drivers do: two halves, low one first.
func (r *rig) base(off uint32, pa emu.PA, n uint64) {
	v := uint64(pa) | spec.RingLen.Put(n)
	r.W32(off, v&0xffff_ffff)
	r.W32(off+4, v>>32)
}

// messages programs the MSI capability and turns all the unit's interrupts on.
func (r *rig) messages() {
	r.W32(spec.OffMSIAddrLow, msiTo)
	r.W32(spec.OffMSIData, msiData)
	r.W32(spec.OffMSICapHeader, spec.MsiEn.Mask())
	r.control(true, spec.CtlEventIntEn, spec.CtlComWaitIntEn)
}

// dte returns where the DTE of s is.
func (r *rig) dte(s emu.SourceID) emu.PA { return r.dev + emu.PA(s)*spec.DTESize }

type field struct {
	b reg.Bits
	v uint64
}

// bind gives s a DTE with V=TV=IR=IW=1 and the fields.
func (r *rig) bind(s emu.SourceID, fields ...field) spec.DTE {
	var e spec.DTE
	for _, f := range append([]field{{spec.DteV, 1}, {spec.DteTV, 1}, {spec.DteIR, 1}, {spec.DteIW, 1}, {spec.DteDomainID, did}}, fields...) {
		f.b.Set(e[:], f.v)
	}
	r.Put(r.dte(s), e[:]...)
	return e
}

// attach gives s a host table of mode levels.
func (r *rig) attach(s emu.SourceID, mode uint64, fields ...field) emu.PA {
	top := r.Page()
	r.bind(s, append([]field{{spec.DteMode, mode}, {spec.DteHostRoot, uint64(top) >> 12}}, fields...)...)
	return top
}

const (
	pr   = uint64(1)
	ir   = uint64(1) << 61
	iw   = uint64(1) << 62
	irw  = ir | iw
	pRW  = pr | irw
	pteA = uint64(1) << 5
	pteD = uint64(1) << 6
)

func nextLevel(level int) uint64 { return spec.PteNextLevel.Put(uint64(level)) }

// pte returns where the entry for addr at a level (of the specification: from 1) is, making tables
// below the table top of a level.
func (r *rig) pte(top emu.PA, from int, addr uint64, level int) emu.PA {
	for l := from; ; l-- {
		at := top + emu.PA(addr>>(3+9*l)&511)*8
		if l == level {
			return at
		}
		if r.Get(at) == 0 {
			r.Put(at, uint64(r.Page())|pRW|nextLevel(l-1))
		}
		top = emu.PA(r.Get(at) & spec.PteAddr.Mask())
	}
}

// mapPage maps one 4 KiB page in a table of three levels and returns where its entry is.
func (r *rig) mapPage(top emu.PA, addr, pa, bits uint64) emu.PA {
	at := r.pte(top, 3, addr, 1)
	r.Put(at, pa|bits)
	return at
}

func dma(a emu.Access) emu.Request {
	return emu.Request{Source: dev, Addr: emu.IOVA(iova), PASID: emu.NoPASID, Len: 64, Access: a}
}

func (r *rig) pasidAccess(p emu.PASID, addr uint64, a emu.Access) emu.Result {
	return r.Do(emu.Request{Source: dev, Addr: emu.IOVA(addr), PASID: p, Len: 64, Access: a})
}

// events reads and drops what is in the event log.
func (r *rig) events() (list [][2]uint64) {
	size := uint64(spec.CommandSize) << spec.RingLen.Of(r.R64(spec.OffEventLogBase))
	head := r.R64(spec.OffEventHead)
	for ; head != r.R64(spec.OffEventTail); head = (head + spec.EventSize) % size {
		at := r.log + emu.PA(head)
		e := [2]uint64{r.Get(at), r.Get(at + 8)}
		list = append(list, e)
		logged.Saw(spec.EvtCode.Of(e[0]))
	}
	r.W32(spec.OffEventHead, head)
	return list
}

// event reads the one event in the log.
func (r *rig) event() [2]uint64 {
	r.T.Helper()
	l := r.events()
	require.Len(r.T, l, 1)
	return l[0]
}

// flags are bits 59:48 of an event.
func flags(e [2]uint64) uint64 { return e[0] & (0xfff << 48) }

// push puts a command at the tail without telling the unit.
func (r *rig) push(w [2]uint64) {
	r.Put(r.cmd+emu.PA(r.tail), w[0], w[1])
	r.tail = (r.tail + spec.CommandSize) % emu.PageSize
}

func (r *rig) ring() { r.W32(spec.OffCmdTail, r.tail) }

// submit pushes commands and rings the bell.
func (r *rig) submit(list ...[2]uint64) {
	for _, w := range list {
		r.push(w)
	}
	r.ring()
}

func op(code uint64) uint64 { return spec.CmdOpcode.Put(code) }

func wait(at emu.PA, data uint64) [2]uint64 {
	return [2]uint64{op(spec.CmdCompletionWait) | spec.CwS.Put(1) | uint64(at), data}
}

func invDevtab(s emu.SourceID) [2]uint64 {
	return [2]uint64{op(spec.CmdInvalidateDevtab) | uint64(s)}
}

// invPages invalidates host translations of a domain: w1 is the second word.
func invPages(domain, w1 uint64) [2]uint64 {
	return [2]uint64{op(spec.CmdInvalidatePages) | spec.IpDomainID.Put(domain), w1}
}

const (
	invS   = uint64(1) << 0
	invPDE = uint64(1) << 1
	invGN  = uint64(1) << 2
)

func invGuest(domain, p, w1 uint64) [2]uint64 {
	w := invPages(domain, w1|invGN)
	w[0] |= p
	return w
}

func invAll() [2]uint64 { return [2]uint64{op(spec.CmdInvalidateAll)} }

// headOf is the head of the command buffer.
func (r *rig) head() uint64 { return r.R64(spec.OffCmdHead) }
