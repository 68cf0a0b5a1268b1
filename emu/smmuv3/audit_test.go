package smmuv3_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// faults are the faults that the tests of this package have expected and got, logged the numbers of the
// events that they have read out of the queue.
var (
	faults = emutest.Codes("fault", smmuv3.FaultCodes(), nil)
	logged = emutest.Codes("event", eventNumbers(), map[uint64]string{
		spec.EvVMSFetch: "a VMS is fetched for MPAM only, which is not modelled",
	})
)

func eventNumbers() (all []uint64) {
	for n := range spec.EventLayouts {
		all = append(all, n)
	}
	return all
}

// TestMain runs the tests and then asks whether they raised every fault that the unit knows, and logged
// every event.
func TestMain(m *testing.M) { emutest.Main(m, faults, logged) }

// Points that implementers get wrong are numbered. Each has a test here or in spec, where the rule is one
// for hardware, or in a package of the host, where it is one for drivers, or a line in docs/smmuv3.md that
// says why not.
func TestEveryQuirkHasATestOrAReason(t *testing.T) {
	emutest.RequirePoints(t, "../../docs/smmuv3.md", "SMMUQuirk", 65, ".", "spec", "../../host/driver/smmuv3", "../../host/entry")
}
