package vtd_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/vtd"
)

// faults are the fault reasons that the tests of this package have expected and got.
var faults = emutest.Codes("fault", vtd.FaultCodes(), nil)

// TestMain runs the tests and then asks whether they raised every fault reason that the unit knows.
func TestMain(m *testing.M) { emutest.Main(m, faults) }

// Points that implementers get wrong are numbered. Each has a test here, where the rule is one for
// hardware, or in a package of the host, where it is one for drivers, or a line in docs/vtd.md that says
// why not.
func TestEveryQuirkHasATestOrAReason(t *testing.T) {
	emutest.RequirePoints(t, "../../docs/vtd.md", "VTDQuirk", 58, ".", "../../host/driver/vtd", "../../host/entry")
}
