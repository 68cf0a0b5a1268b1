package qtest

import (
	"fmt"
	"os"
	"sync"
)

// memory is the RAM of a machine, shared with the process. The lock keeps Close, which may come from
// another goroutine, from taking it away under an access.
type memory struct {
	mu  sync.Mutex
	ram []byte
}

func (m *memory) open(f *os.File, n int) (err error) {
	m.ram, err = mapShared(f, n)
	return err
}

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ram != nil {
		unmap(m.ram)
		m.ram = nil
	}
}

// part returns n bytes at off.
func (m *memory) part(off uint64, n int) ([]byte, error) {
	if m.ram == nil {
		return nil, &Error{Op: "RAM", Err: ErrClosed}
	}
	if off > uint64(len(m.ram)) || uint64(n) > uint64(len(m.ram))-off {
		return nil, fmt.Errorf("qemu: %d bytes at %#x: beyond the %#x bytes of RAM", n, off, len(m.ram))
	}
	return m.ram[off:][:n], nil
}

// LoadRAM reads RAM, off bytes from its beginning. It does not take the way through the protocol: QEMU
// and this process share the memory.
//
// Errors: ErrClosed; outside of RAM.
func (p *Process) LoadRAM(off uint64, b []byte) error {
	p.ram.mu.Lock()
	defer p.ram.mu.Unlock()
	part, err := p.ram.part(off, len(b))
	copy(b, part)
	return err
}

// StoreRAM writes RAM. QEMU sees it with the next command.
//
// Errors: as LoadRAM.
func (p *Process) StoreRAM(off uint64, b []byte) error {
	p.ram.mu.Lock()
	defer p.ram.mu.Unlock()
	part, err := p.ram.part(off, len(b))
	copy(part, b)
	return err
}

// ClearRAM sets all of RAM to zero.
//
// Errors: ErrClosed.
func (p *Process) ClearRAM() error {
	p.ram.mu.Lock()
	defer p.ram.mu.Unlock()
	if p.ram.ram == nil {
		return &Error{Op: "RAM", Err: ErrClosed}
	}
	clear(p.ram.ram)
	return nil
}
