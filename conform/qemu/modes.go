package qemu

import (
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/conform/qtest"
)

// Mode is what a VT-d unit of QEMU offers.
type Mode uint8

// The modes.
const (
	Legacy      Mode = iota // root and context tables
	SecondStage             // scalable mode with second-stage translation
	FirstStage              // scalable mode with first-stage translation
)

var modes = [...]struct {
	name string
	set  [][]string // properties to turn on, under the names they had
}{
	Legacy:      {"legacy", nil},
	SecondStage: {"scalable-second-stage", [][]string{{"scalable-mode", "x-scalable-mode"}}},
	FirstStage:  {"scalable-first-stage", [][]string{{"scalable-mode", "x-scalable-mode"}, {"fsts", "x-flts"}}},
}

// Modes are all there are.
func Modes() []Mode { return []Mode{Legacy, SecondStage, FirstStage} }

// String returns the mode's name.
func (m Mode) String() string {
	if int(m) >= len(modes) {
		return "?"
	}
	return modes[m].name
}

// ParseMode is the reverse of String.
func ParseMode(s string) (Mode, error) {
	var names []string
	for _, m := range Modes() {
		if m.String() == s {
			return m, nil
		}
		names = append(names, m.String())
	}
	return 0, fmt.Errorf("qemu: mode %q: expected one of %s", s, strings.Join(names, ", "))
}

// device returns the argument that makes QEMU have the unit.
//
// Errors: qtest.ErrUnsupported for a QEMU without the mode.
func (m Mode) device(b *qtest.Binary, extra []string) (string, error) {
	arg := "intel-iommu,intremap=on,aw-bits=48"
	for _, names := range modes[m].set {
		name, err := b.Property("intel-iommu", names...)
		if err != nil {
			return "", err
		}
		if name == "" {
			return "", &qtest.Error{Op: "mode " + m.String(), Err: qtest.ErrUnsupported, Detail: b.Version.String()}
		}
		arg += "," + name + "=on"
	}
	return strings.Join(append([]string{arg}, extra...), ","), nil
}
