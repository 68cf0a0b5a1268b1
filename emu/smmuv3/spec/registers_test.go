package spec_test

import (
	"testing"

	"github.com/iommulab/iommulab/emu/emutest"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

func TestRegistersAreSound(t *testing.T) {
	emutest.RequireSoundRegisters(t, spec.WindowAll, spec.Registers)
}
