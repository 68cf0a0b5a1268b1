package drivertest

import (
	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/host"
)

// Tester is a test or a property.
type Tester interface {
	require.TestingT
	Helper()
}

// Where things are in memory.
const (
	RAMBase   = 0x1000_0000 // table pages and driver structures
	RAMSize   = 1 << 30
	Target    = emu.PA(0x8000_0000)   // where tests map to
	GuestBase = emu.PA(0x2_0000_0000) // where a guest's memory is on the host
)

// Rig is a functional machine, with a driver once D is set.
type Rig struct {
	T      Tester
	Mem    *mem.Memory
	CPU    *Spy
	Frames *host.Frames
	D      host.Driver
	Faults []host.FaultRecord
	// Through are devices with a device-TLB: what they access goes through it.
	Through map[emu.SourceID]*Endpoint
}

// New puts a unit on a machine. Devices answer every invalidation of their TLBs.
func New(t Tester, u emu.Unit) *Rig {
	r := &Rig{T: t, Mem: mem.New()}
	r.CPU = &Spy{Functional: emu.NewFunctional(u, r.Mem), Reads: map[uint32]int{}, Drop: map[uint32]bool{}, Dirty: map[emu.PA]bool{}}
	r.CPU.OnATSInvalidate = func(*emu.Txn) bool { return true }
	var err error
	r.Frames, err = host.NewFrames(r.CPU, RAMBase, RAMSize)
	require.NoError(t, err)
	return r
}

// Use makes d the driver: faults are kept, and translation is turned on.
func (r *Rig) Use(d host.Driver) {
	r.D = d
	d.OnFault(func(f host.FaultRecord) { r.Faults = append(r.Faults, f) })
	require.NoError(r.T, d.Enable())
}

// Domain makes a domain.
func (r *Rig) Domain(s host.DomainSpec) host.Domain {
	d, err := r.D.NewDomain(s)
	require.NoError(r.T, err)
	return d
}

// Mapped returns a domain with one page at iova that goes to pa.
func (r *Rig) Mapped(iova emu.IOVA, pa emu.PA) host.Domain { return r.In(host.StageAny, iova, pa) }

// In is Mapped with the stage chosen.
func (r *Rig) In(stage host.Stage, iova emu.IOVA, pa emu.PA) host.Domain {
	d := r.Domain(host.DomainSpec{Stage: stage})
	require.NoError(r.T, d.Map(iova, pa, 0x1000, emu.RW))
	return d
}

// Access lets a device access 4 bytes.
func (r *Rig) Access(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA, a emu.Access) emu.Result {
	if e := r.Through[sid]; e != nil {
		res, _ := e.Access(pasid, iova, a)
		return res
	}
	var res emu.Result
	r.CPU.Translate(&emu.Request{Addr: iova, Source: sid, PASID: pasid, Len: 4, Access: a}, &res)
	return res
}

// Reaches requires that a read goes to pa.
func (r *Rig) Reaches(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA, pa emu.PA) {
	r.T.Helper()
	res := r.Access(sid, pasid, iova, emu.Read)
	require.Equal(r.T, emu.OK, res.Status, "fault %#x at %#x", res.Fault.Code, uint64(res.Fault.At))
	require.Equal(r.T, pa, res.PA)
}

// Blocked requires that a read is refused.
func (r *Rig) Blocked(sid emu.SourceID, pasid emu.PASID, iova emu.IOVA) emu.Result {
	r.T.Helper()
	res := r.Access(sid, pasid, iova, emu.Read)
	require.Equal(r.T, emu.Blocked, res.Status, "goes to %#x", uint64(res.PA))
	return res
}

// Send lets a device send an interrupt message.
func (r *Rig) Send(sid emu.SourceID, m host.Message) emu.Result {
	var res emu.Result
	r.CPU.Translate(&emu.Request{
		Addr: emu.IOVA(m.Addr), Source: sid, PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: m.Data,
	}, &res)
	return res
}

// Handler registers a handler that counts.
func (r *Rig) Handler() (host.Message, *int) {
	n := new(int)
	addr, data := r.CPU.OnIRQ(func() { *n++ })
	return host.Message{Addr: addr, Data: data}, n
}
