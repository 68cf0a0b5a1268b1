package cli

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/pagetable"
)

var smmuv3Deviations = []deviation{
	{
		recorder: "QEMU ", clause: "3.4",
		what: "a device whose STE bypasses passes with addresses of any size; beyond the input size they are F_ADDR_SIZE",
		answer: func(s *snap, q *emu.Request, r *emu.Result) (emu.Result, bool) {
			e, ok := smmuv3STE(s, q.Source)
			if !ok || e.Config() != spec.ConfigBypass || r.Status != emu.Blocked || r.Fault.Code != smmuv3.FaultInput {
				return emu.Result{}, false
			}
			return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr), Perm: emu.RW, Lg2: 64}, true
		},
	},
	{
		recorder: "QEMU ", clause: "5.4",
		what: "requests of users pass where stage 1 has rights for supervisors only (AP[1]=0, APTable[0]=1)",
		answer: func(s *snap, q *emu.Request, r *emu.Result) (emu.Result, bool) {
			if r.Status != emu.Blocked || r.Fault.Code != smmuv3.FaultS1Permission || q.Access&emu.Priv != 0 {
				return emu.Result{}, false
			}
			p := *q
			p.Access |= emu.Priv
			return translated(s, p), true
		},
	},
	{
		recorder: "QEMU ", clause: "5.2, S2SL0",
		what: "of start tables of stage 2 side by side the first is used for all addresses",
		answer: func(s *snap, q *emu.Request, _ *emu.Result) (emu.Result, bool) {
			bits, side := startTableBits(s, q.Source)
			if !side || q.Addr>>bits == 0 {
				return emu.Result{}, false
			}
			p := *q
			p.Addr &= 1<<bits - 1
			return translated(s, p), true
		},
	},
	{
		recorder: "QEMU ", clause: "5.2, S1CDMax",
		what: "an STE with S1CDMax is refused where there are no SubstreamIDs, and the field is ignored",
		answer: func(s *snap, q *emu.Request, _ *emu.Result) (emu.Result, bool) {
			e, ok := smmuv3STE(s, q.Source)
			idr1, have := registerAt(s.regs.Image, spec.OffIDR1, 4)
			refused := ok && have && spec.Idr1SSIDSIZE.Of(idr1) == 0 && e.S1() && spec.SteS1CDMax.Get(e[:]) != 0
			return emu.Result{Status: emu.Blocked}, refused
		},
	},
	{
		recorder: "QEMU ", clause: "5.2, S2T0SZ",
		what: "an STE with more input bits than S2PS is refused; the limit is IDR5.OAS",
		answer: func(s *snap, q *emu.Request, _ *emu.Result) (emu.Result, bool) {
			e, ok := smmuv3STE(s, q.Source)
			refused := ok && e.S2() && 64-spec.SteS2T0SZ.Get(e[:]) > uint64(spec.OASBits(spec.SteS2PS.Get(e[:])))
			return emu.Result{Status: emu.Blocked}, refused
		},
	},
}

// translated returns what the unit of a snapshot answers to another request.
func translated(s *snap, q emu.Request) emu.Result {
	var r emu.Result
	emu.NewFunctional(s.unit, s.mem).Translate(&q, &r)
	return r
}

// smmuv3STE returns the STE of a requester.
func smmuv3STE(s *snap, sid emu.SourceID) (found spec.STE, ok bool) {
	stop := errors.New("found")
	err := smmuv3Devices(s, func(e *entry) error {
		if e.sid != sid {
			return nil
		}
		copy(found[:], e.words)
		return stop
	})
	return found, errors.Is(err, stop)
}

// startTableBits returns how many bits of an address one start table of stage 2 resolves, if a requester has
// stage 2 alone and more than one.
func startTableBits(s *snap, sid emu.SourceID) (bits uint8, side bool) {
	e, ok := smmuv3STE(s, sid)
	if !ok || e.S1() || !e.S2() {
		return 0, false
	}
	a, err := newSMMUv3(s)
	if err != nil {
		return 0, false
	}
	r := a.stage2(&e)
	f, ok := r.format.(pagetable.LPAES2)
	if !ok {
		return 0, false
	}
	bits = f.Granule + uint8(r.levels)*(f.Granule-3)
	return bits, r.vaBits > bits
}
