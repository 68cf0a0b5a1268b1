package qemu

import (
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/conform/qtest"
)

// Mode is a unit of QEMU and what of it is turned on.
type Mode uint8

// The modes.
const (
	Legacy      Mode = iota // VT-d: root and context tables
	SecondStage             // VT-d: scalable mode with second-stage translation
	FirstStage              // VT-d: scalable mode with first-stage translation
	HostTables              // AMD-Vi: host tables
	X2APIC                  // AMD-Vi: host tables, interrupts with destinations of 32 bits
	BothStages              // SMMUv3: stage 1, stage 2, and both
)

var modes = [...]struct {
	u    *unit
	name string
	arg  string
	set  [][]string // properties to turn on, under the names they had
	// since is the first release that does it as it is described; none: any that has the properties.
	since qtest.Version
}{
	Legacy:      {&vtd, "legacy", vtdArg, nil, qtest.Version{}},
	SecondStage: {&vtd, "scalable-second-stage", vtdArg, [][]string{{"scalable-mode", "x-scalable-mode"}}, qtest.Version{}},
	FirstStage:  {&vtd, "scalable-first-stage", vtdArg, [][]string{{"scalable-mode", "x-scalable-mode"}, {"fsts", "x-flts"}}, qtest.Version{}},
	HostTables:  {&amdvi, "host-tables", amdviArg, [][]string{{"dma-remap"}}, qtest.Version{Major: 11}},
	X2APIC:      {&amdvi, "host-tables-x2apic", amdviArg, [][]string{{"dma-remap"}, {"xtsup"}}, qtest.Version{Major: 11}},
	BothStages:  {&smmuv3, "both-stages", "", nil, qtest.Version{Major: 11}},
}

const (
	vtdArg   = "intel-iommu,intremap=on,aw-bits=48"
	amdviArg = "amd-iommu,intremap=on,pci-id=iommu"
)

// Modes are those of a unit ("vtd", "amdvi", "smmuv3"), or all.
func Modes(iommu string) []Mode {
	var list []Mode
	for m := range modes {
		if iommu == "" || modes[m].u.iommu == iommu {
			list = append(list, Mode(m))
		}
	}
	return list
}

func (m Mode) unit() *unit { return modes[m].u }

// IOMMU returns the name of the unit: "vtd", "amdvi", "smmuv3".
func (m Mode) IOMMU() string { return m.unit().iommu }

// System returns the system of the machine that has the unit: "x86_64", "aarch64".
func (m Mode) System() string { return m.unit().machine.System }

// String returns the mode's name.
func (m Mode) String() string {
	if int(m) >= len(modes) {
		return "?"
	}
	return modes[m].name
}

// ParseMode is the reverse of IOMMU and String.
func ParseMode(iommu, name string) (Mode, error) {
	var names []string
	for _, m := range Modes(iommu) {
		if m.String() == name {
			return m, nil
		}
		names = append(names, m.String())
	}
	return 0, fmt.Errorf("qemu: iommu %s, mode %q: expected one of %s", iommu, name, strings.Join(names, ", "))
}

// args returns the arguments that make QEMU have the unit.
//
// Errors: qtest.ErrUnsupported for a QEMU without the mode.
func (m Mode) args(b *qtest.Binary, extra []string) ([]string, error) {
	u := m.unit()
	if b.Version.Less(modes[m].since) {
		return nil, &qtest.Error{Op: "mode " + m.String(), Err: qtest.ErrUnsupported, Detail: b.Version.String()}
	}
	arg := modes[m].arg
	if arg == "" { // the unit belongs to the machine
		return nil, nil
	}
	for _, names := range modes[m].set {
		name, err := b.Property(u.device, names...)
		if err != nil {
			return nil, err
		}
		if name == "" {
			return nil, &qtest.Error{Op: "mode " + m.String(), Err: qtest.ErrUnsupported, Detail: b.Version.String()}
		}
		arg += "," + name + "=on"
	}
	args := []string{"-device", strings.Join(append([]string{arg}, extra...), ",")}
	if u == &amdvi {
		args = append([]string{"-device", "AMDVI-PCI,id=iommu,addr=01.0"}, args...)
	}
	return args, nil
}
