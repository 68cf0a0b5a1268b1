package qtest

import (
	"errors"
	"fmt"
	"strings"
)

// What goes wrong with a QEMU. An [Error] says where.
var (
	ErrNoQEMU      = errors.New("no QEMU found")
	ErrUnsupported = errors.New("this QEMU lacks it")
	ErrDied        = errors.New("QEMU ended")
	ErrTimeout     = errors.New("QEMU does not answer")
	ErrProtocol    = errors.New("not what QEMU answers")
	ErrRefused     = errors.New("QEMU refuses the command")
	ErrClosed      = errors.New("closed")
)

// Error is a failure of QEMU or of the talk with it.
type Error struct {
	Op     string // what was under way: a command of the protocol, or a step of the start
	Err    error  // one of the errors above, or one of the operating system
	Detail string // what came instead of the answer
	Stderr string // the end of what QEMU wrote there
}

// Error names the step, the cause and what QEMU said.
func (e *Error) Error() string {
	s := fmt.Sprintf("qemu: %s: %v", e.Op, e.Err)
	if e.Detail != "" {
		s += fmt.Sprintf(": %q", e.Detail)
	}
	if e.Stderr != "" {
		s += "\nQEMU wrote: " + strings.TrimSpace(e.Stderr)
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// clip keeps what QEMU said short.
func clip(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
