package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/host"
)

// X86IRQ is an interrupt message of x86 processors taken apart: compatibility format, or that with
// 32-bit destinations, whose bits 31:8 are in address bits 63:40.
type X86IRQ struct {
	Dest     uint32
	Logical  bool  // destination mode
	Redirect bool  // redirection hint
	Mode     uint8 // delivery mode: 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT
	Vector   uint8
	Level    bool // trigger mode
}

// ParseX86IRQ takes a message apart.
//
// Errors: host.ErrUnsupported (no address of an interrupt; reserved values; a vector that is one of the
// processor's own).
func ParseX86IRQ(m host.Message) (X86IRQ, error) {
	addr, data := uint64(m.Addr), uint64(m.Data)
	const base, covered = 0xfee0_0000, 0xff<<12 | 1<<3 | 1<<2 | 0xff_ffff<<40
	const known = 0xff | 7<<8 | 3<<14 // vector, delivery mode, level and trigger mode
	q := X86IRQ{
		Dest: uint32(addr>>12&0xff | addr>>40<<8), Logical: addr&(1<<2) != 0, Redirect: addr&(1<<3) != 0,
		Mode: uint8(data >> 8 & 7), Vector: uint8(data), Level: data&(1<<15) != 0,
	}
	switch {
	case addr&^uint64(covered) != base:
		return q, fmt.Errorf("message address %#x is none of an interrupt: %w", addr, host.ErrUnsupported)
	case data&^known != 0, q.Mode == 3, q.Mode == 6:
		return q, fmt.Errorf("message data %#x has reserved values: %w", data, host.ErrUnsupported)
	case q.Mode <= 1 && q.Vector < 16:
		return q, fmt.Errorf("message data %#x: vector %d is one of the processor's own: %w", data, q.Vector, host.ErrUnsupported)
	}
	return q, nil
}
