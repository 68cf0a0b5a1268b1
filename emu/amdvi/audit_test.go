package amdvi_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
	"github.com/iommulab/iommulab/emu/emutest"
)

// faults are the faults that the tests of this package have expected and got, logged the codes of the
// events that they have read out of a log.
var (
	faults = emutest.Codes("fault", amdvi.FaultCodes(), nil)
	logged = emutest.Codes("event", eventCodes(), map[uint64]string{
		spec.EventGuestEvent:   "virtual IOMMUs are not modelled",
		spec.EventVIOMMUHW:     "virtual IOMMUs are not modelled",
		spec.EventRMPPageFault: "SNP is not modelled",
		spec.EventRMPHW:        "SNP is not modelled",
	})
)

func eventCodes() (all []uint64) {
	for c := uint64(1); c <= spec.EventRMPHW; c++ {
		all = append(all, c)
	}
	return all
}

// TestMain runs the tests and then asks whether they raised every fault that the unit knows, and logged
// every event.
func TestMain(m *testing.M) { emutest.Main(m, faults, logged) }

// Points that implementers get wrong are numbered. Each has a test here or in spec, where the rule is
// one for hardware, or in a package of the host, where it is one for drivers, or a line in docs/amdvi.md
// that says why not.
func TestEveryQuirkHasATestOrAReason(t *testing.T) {
	emutest.RequirePoints(t, "../../docs/amdvi.md", "AMDQuirk", 52, ".", "spec", "../../host/driver/amdvi", "../../host/entry")
}
