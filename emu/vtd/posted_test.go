package vtd_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/vtd"
	"github.com/iommulab/iommulab/emu/vtd/spec"
)

// pidAt is where tests have a posted-interrupt descriptor.
const pidAt = emu.PA(0x2_0000_0040)

// postedIRTE makes a posted-format entry, with values as they lie in memory.
func postedIRTE(vector uint64, pda emu.PA) [2]uint64 {
	return [2]uint64{0x8001 | vector<<16 | uint64(pda)&0xffff_ffc0<<32, uint64(pda) >> 32 << 32}
}

const (
	pidON = 1 << 0
	pidSN = 1 << 1
)

// control is a control word with notification vector F2h for processor 5.
func control(flags uint64, extended bool) uint64 {
	if extended {
		return 0x0000_0105_00f2_0000 | flags // processor 105h
	}
	return 0x0000_0500_00f2_0000 | flags
}

func TestPostingByNotificationState(t *testing.T) {
	for _, c := range []struct {
		flags  uint64
		urgent bool
		notify bool
	}{
		{0, false, true}, {0, true, true},
		{pidSN, false, false}, {pidSN, true, true},
		{pidON, false, false}, {pidON, true, false},
		{pidON | pidSN, false, false}, {pidON | pidSN, true, false},
	} {
		for _, extended := range []bool{false, true} {
			r := newRig(t)
			r.Put(pidAt, 0, 0, 1<<4, 0, control(c.flags, extended), 0, 0, 0)
			e := postedIRTE(0xa3, pidAt)
			e[0] |= spec.IrteURG.PutBool(c.urgent)
			r.putIRTE(r.remapping(extended), 5, e)
			res := r.irq(sid, handle(5), 0)
			require.EqualValues(t, 1<<4|1<<(0xa3-128), r.Get(pidAt+16), "request bit")
			want := control(c.flags, extended)
			if !c.notify {
				require.Equal(t, emu.Posted, res.Status)
				require.Equal(t, want, r.Get(pidAt+32))
				require.Empty(t, r.MSI, "nothing is sent")
				continue
			}
			to := emu.PA(0xfee0_5000)
			if extended {
				to = 0x100_fee0_5000
			}
			r.interrupts(res, to, 0x40f2)
			require.Equal(t, want|pidON, r.Get(pidAt+32))
			// Until software clears ON there is no second notification.
			require.Equal(t, emu.Posted, r.irq(sid, handle(5), 0).Status)
		}
	}
}

func TestPostingSetsTheBitOfEachVector(t *testing.T) {
	r := newRig(t)
	table := r.remapping(false)
	r.Put(pidAt, 0, 0, 0, 0, control(pidSN, false), 0, 0, 0)
	r.queue(false)
	for v := range uint64(256) {
		r.putIRTE(table, int(v%32), postedIRTE(v, pidAt))
		if v%32 == 31 {
			r.submit(iec(false, 0, 0), 0)
			for i := range uint64(32) {
				require.Equal(t, emu.Posted, r.irq(sid, handle(i), 0).Status)
			}
			require.Equal(t, ^uint64(0)>>(63-v%64), r.Get(pidAt+emu.PA(v/64*8)))
		}
	}
}

// What software does between the request bit and the notification decides whether there is one.
func TestPostingAgainstConcurrentSoftware(t *testing.T) {
	for _, c := range []struct {
		name   string
		op     emu.Op // software acts behind this question, and before the next
		change uint64 // control word from then on
		want   emu.Status
		word   uint64
	}{
		{"SN is set before the control word is read", emu.OpAtomicOr, control(pidSN, false), emu.Posted, control(pidSN, false)},
		{"ON is cleared before the control word is read", emu.OpAtomicOr, control(0, false), emu.Interrupt, control(pidON, false)},
		{"SN is set before the swap", emu.OpFetch, control(pidSN, false), emu.Posted, control(pidSN, false)},
		{"another one notifies before the swap", emu.OpFetch, control(pidON, false), emu.Posted, control(pidON, false)},
		{"the processor moves before the swap", emu.OpFetch, 0x0000_0700_00f3_0000, emu.Interrupt, 0x0000_0700_00f3_0001},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			r.Put(pidAt, 0, 0, 0, 0, control(0, false), 0, 0, 0)
			r.putIRTE(r.remapping(false), 5, postedIRTE(0x41, pidAt))
			s := r.Begin(write4(sid, handle(5), 0))
			s.Until(func(a *emu.Act) bool { return a.Op == emu.OpAtomicOr })
			if c.op == emu.OpFetch {
				s.Until(func(a *emu.Act) bool { return a.Op == emu.OpFetch && a.Addr == pidAt+32 })
			}
			r.Put(pidAt+32, c.change)
			res := s.End()
			require.Equal(t, c.want, res.Status)
			require.Equal(t, c.word, r.Get(pidAt+32))
			require.EqualValues(t, 2, r.Get(pidAt+8), "the request bit stays")
			if c.want == emu.Interrupt {
				require.Equal(t, emu.MSITo(uint32(c.change>>40&0xff)), res.PA)
				require.EqualValues(t, 0x4000|c.change>>16&0xff, res.Data)
			}
		})
	}
}

// The request bit is set before ON, and nothing is written to a descriptor that is not in order.
func TestPostingOrder(t *testing.T) {
	r := newRig(t)
	r.Put(pidAt, 0, 0, 0, 0, control(0, false), 0, 0, 0)
	r.putIRTE(r.remapping(false), 5, postedIRTE(0x41, pidAt))
	s := r.Begin(write4(sid, handle(5), 0))
	s.End()
	var ops []emu.Op
	for _, a := range s.Acts {
		if a.Op == emu.OpOrder || a.Addr&^63 == pidAt && a.Op != emu.OpDone {
			ops = append(ops, a.Op)
		}
	}
	require.Equal(t, []emu.Op{emu.OpOrder, emu.OpFetch, emu.OpAtomicOr, emu.OpFetch, emu.OpCAS}, ops[:5])

	r.Put(pidAt, 0, 0, 0, 0, control(0, false), 1, 0, 0)
	r.RequireFault(r.irq(sid, handle(5), 0), vtd.FaultPIDReserved)
	require.Zero(t, r.Get(pidAt))
	require.Equal(t, control(0, false), r.Get(pidAt+32))
}

// A descriptor that goes away half-way is the same fault.
func TestPostingAccessErrors(t *testing.T) {
	for _, last := range [][]emu.Op{{}, {emu.OpFetch}, {emu.OpFetch, emu.OpAtomicOr}, {emu.OpFetch, emu.OpAtomicOr, emu.OpFetch}} {
		r := newRig(t)
		r.Put(pidAt, 0, 0, 0, 0, control(0, false), 0, 0, 0)
		r.putIRTE(r.remapping(false), 5, postedIRTE(0x41, pidAt))
		s := r.Begin(write4(sid, handle(5), 0))
		s.Until(func(a *emu.Act) bool { return a.Op == emu.OpOrder })
		for _, op := range last {
			s.Until(func(a *emu.Act) bool { return a.Op == op })
		}
		r.BusError(pidAt, 64)
		r.RequireFault(s.End(), vtd.FaultPIDAccess)
	}
}
