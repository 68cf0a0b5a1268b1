package cli

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

var smmuv3Deviations = []deviation{{
	recorder: "QEMU ", clause: "3.4",
	what: "a device whose STE bypasses passes with addresses of any size; beyond the input size they are F_ADDR_SIZE",
	answer: func(s *snap, q *emu.Request, r *emu.Result) (emu.Result, bool) {
		if r.Status != emu.Blocked || r.Fault.Code != smmuv3.FaultInput {
			return emu.Result{}, false
		}
		e, ok := smmuv3STE(s, q.Source)
		if !ok || e.Config() != spec.ConfigBypass {
			return emu.Result{}, false
		}
		return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr), Perm: emu.RW, Lg2: 64}, true
	},
}}

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
