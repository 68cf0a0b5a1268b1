package qtest

import (
	"errors"
	"strings"
)

// How a machine without a running processor is had. Not every build of QEMU has the accelerator that was
// made for it. Then an emulated processor is there that halts at once, and time jumps by itself to the
// next timer while it does.
func (b *Binary) accelerator() (args []string, halted bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.noAccel {
		return []string{"-accel", "qtest"}, false
	}
	return []string{"-accel", "tcg", "-icount", "shift=0,sleep=off", "-bios", self(fdROM)}, true
}

// lacksAccelerator finds out from an error of Start whether it was the accelerator's fault, and keeps
// that in mind.
func (b *Binary) lacksAccelerator(err error) bool {
	var e *Error
	if !errors.As(err, &e) || !strings.Contains(e.Stderr, "invalid accelerator qtest") {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noAccel = true
	return true
}
