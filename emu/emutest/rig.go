// Package emutest is what the tests of units share: a unit on a memory, transactions driven question by
// question or many at once in random order, input of fuzz targets, recorders of what the tests of a
// package have seen, and the captured tables of real drivers.
package emutest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
)

// Rig is a unit on a memory, driven by the functional executor. Tests of a unit embed it beside what
// they know of the architecture.
type Rig struct {
	T      testing.TB
	Unit   emu.Unit
	Mem    *mem.Memory
	F      *emu.Functional
	Free   emu.PA   // the next page that Page returns
	MSI    []uint32 // data of messages received
	Faults *Seen    // codes that RequireFault has seen, if set
}

// First is where the first page of a Rig is.
const First emu.PA = 0x10_0000

// New returns a rig of u.
func New(t testing.TB, u emu.Unit) *Rig {
	r := &Rig{T: t, Mem: mem.New(), Free: First}
	r.Use(u)
	return r
}

// Use makes u the rig's unit.
func (r *Rig) Use(u emu.Unit) {
	r.Unit, r.F = u, emu.NewFunctional(u, r.Mem)
	r.F.OnMSI = func(_ emu.PA, data uint32) { r.MSI = append(r.MSI, data) }
}

// Pages returns the first of n new pages in a row.
func (r *Rig) Pages(n int) emu.PA {
	p := r.Free
	r.Free += emu.PA(n) * emu.PageSize
	r.Mem.Store64(p, 0)
	return p
}

// Page returns a new page.
func (r *Rig) Page() emu.PA { return r.Pages(1) }

// Put stores words from pa on.
func (r *Rig) Put(pa emu.PA, words ...uint64) {
	for i, w := range words {
		require.True(r.T, r.Mem.Store64(pa+emu.PA(8*i), w))
	}
}

// Get loads the word at pa.
func (r *Rig) Get(pa emu.PA) uint64 {
	v, ok := r.Mem.Load64(pa)
	require.True(r.T, ok)
	return v
}

// BusError makes n bytes at pa fail.
func (r *Rig) BusError(pa emu.PA, n uint64) { r.Mem.AddBusError(pa, pa+emu.PA(n)-1, emu.RW) }

// R32 reads a register of 4 bytes, R64 of 8; W32 and W64 write one and run what that wakes.
func (r *Rig) R32(off uint32) uint64    { return r.Unit.ReadReg(off, 4) }
func (r *Rig) R64(off uint32) uint64    { return r.Unit.ReadReg(off, 8) }
func (r *Rig) W32(off uint32, v uint64) { r.F.WriteReg(0, off, 4, v) }
func (r *Rig) W64(off uint32, v uint64) { r.F.WriteReg(0, off, 8, v) }

// Image returns what software would read from first to end of a unit's window.
func Image(u emu.Unit, first, end uint32) emu.RegImage {
	var img emu.RegImage
	for off := first; off < end; off += 8 {
		img = append(img, emu.RegValue{Off: off, Size: 8, Value: u.ReadReg(off, 8)})
	}
	return img
}

// Save returns the state of a unit.
func Save(u emu.Unit) []byte {
	var e emu.Encoder
	u.Save(&e)
	return e.Bytes()
}

// Do translates q.
func (r *Rig) Do(q emu.Request) emu.Result {
	var res emu.Result
	r.F.Translate(&q, &res)
	return res
}

// DMA is a request of 64 bytes.
func DMA(s emu.SourceID, p emu.PASID, addr uint64, a emu.Access) emu.Request {
	return emu.Request{Source: s, Addr: emu.IOVA(addr), PASID: p, Len: 64, Access: a}
}

// Access translates a request of 64 bytes without PASID.
func (r *Rig) Access(s emu.SourceID, addr uint64, a emu.Access) emu.Result {
	return r.Do(DMA(s, emu.NoPASID, addr, a))
}

// RequireOK requires that res is a translation to pa.
func (r *Rig) RequireOK(res emu.Result, pa uint64) {
	r.T.Helper()
	require.Equal(r.T, emu.OK, res.Status, "fault %#x %s", res.Fault.Code, r.Unit.FaultName(res.Fault.Code))
	require.Equal(r.T, emu.PA(pa), res.PA)
}

// RequireFault requires that res is the fault.
func (r *Rig) RequireFault(res emu.Result, code uint16) {
	r.T.Helper()
	require.Equal(r.T, emu.Blocked, res.Status)
	require.Equal(r.T, code, res.Fault.Code, "%#x %s", res.Fault.Code, r.Unit.FaultName(res.Fault.Code))
	if r.Faults != nil {
		r.Faults.Saw(uint64(code))
	}
}

// Observer is an emu.Observer made of a function.
type Observer func(kind emu.StructKind, at emu.PA, words []uint64)

// Assembled implements emu.Observer.
func (o Observer) Assembled(_ *emu.Txn, kind emu.StructKind, at emu.PA, words []uint64) {
	o(kind, at, words)
}
