package cli

import (
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/report"
)

// deviation is a known way in which a recorder of snapshots departs from the specification.
type deviation struct {
	recorder string // start of snapshot.Regs.Recorder
	what     string
	clause   string
	// answer returns what the recorder answers to q where the unit answers r, and false where that is no
	// case of the deviation.
	answer func(s *snap, q *emu.Request, r *emu.Result) (emu.Result, bool)
}

// deviate returns the deviation of the snapshot's recorder with which the result is what row expects.
func (w *walker) deviate(row *oracleRow, r *emu.Result) *report.WalkDeviation {
	for i := range w.snap.arch.deviations {
		d := &w.snap.arch.deviations[i]
		if !strings.HasPrefix(w.snap.regs.Recorder, d.recorder) {
			continue
		}
		if other, ok := d.answer(w.snap, &row.req, r); ok && row.agrees(&other) {
			return w.deviation(d)
		}
	}
	return nil
}

// deviation returns the entry of d in the result.
func (w *walker) deviation(d *deviation) *report.WalkDeviation {
	for i := range w.out.Deviations {
		if e := &w.out.Deviations[i]; e.What == d.what {
			return e
		}
	}
	w.out.Deviations = append(w.out.Deviations, report.WalkDeviation{Recorder: w.snap.regs.Recorder, What: d.what, Clause: d.clause})
	return &w.out.Deviations[len(w.out.Deviations)-1]
}

var amdviDeviations = []deviation{{
	recorder: "QEMU ", clause: "2.2.2.1",
	what: "a device whose DTE has Mode=0 passes whatever IR and IW say; they count with Mode=0, too",
	answer: func(s *snap, q *emu.Request, r *emu.Result) (emu.Result, bool) {
		if r.Status != emu.Blocked || r.Fault.Code != amdvi.FaultPermission || r.Fault.Step != amdvi.StepRequestCheck {
			return emu.Result{}, false
		}
		e, ok := amdviDTE(s, q.Source)
		if !ok || e.Mode() != spec.ModeIdentity || e.GV() {
			return emu.Result{}, false
		}
		return emu.Result{Status: emu.OK, PA: emu.PA(q.Addr), Perm: emu.RW, Lg2: 64}, true
	},
}}

// amdviDTE returns the DTE of a requester.
func amdviDTE(s *snap, sid emu.SourceID) (found spec.DTE, ok bool) {
	a, err := newAMDVi(s)
	if err != nil {
		return spec.DTE{}, false
	}
	at, ok := a.dteAt(sid)
	if !ok {
		return spec.DTE{}, false
	}
	return spec.DTE(a.read("device table", at, 4)), true
}
