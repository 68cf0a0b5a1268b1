package mem

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// ErrorID names a region that AddBusError made.
type ErrorID uint64

type busError struct {
	First, Last emu.PA
	ID          ErrorID
	Kinds       emu.Access
}

// AddBusError makes every access of the given kinds (emu.Read, emu.Write or both) that touches
// first to last, inclusive, a bus error. Memory below keeps its content.
func (m *Memory) AddBusError(first, last emu.PA, kinds emu.Access) ErrorID {
	m.lastID++
	m.errors = append(m.errors, busError{first, last, m.lastID, kinds & emu.RW})
	m.forget()
	return m.lastID
}

// RemoveBusError takes a region away again and reports whether there was one.
func (m *Memory) RemoveBusError(id ErrorID) bool {
	n := len(m.errors)
	m.errors = slices.DeleteFunc(m.errors, func(e busError) bool { return e.ID == id })
	m.forget()
	return len(m.errors) != n
}

// errorIn reports whether an access of kind to first..last meets a bus error region.
func (m *Memory) errorIn(first, last emu.PA, kind emu.Access) bool {
	for i := range m.errors {
		if e := &m.errors[i]; e.Kinds&kind != 0 && e.First <= last && first <= e.Last {
			return true
		}
	}
	return false
}

type watcher struct {
	first, last emu.PA
	hook        func(pa emu.PA, size uint8)
}

// Watch calls hook after every store that touches first to last, inclusive, with the address and
// size of the access. Bulk writes (Write, Zero) report each 8-byte word that they touch. hook may
// read and write memory; a store that it makes is reported in turn. stop ends the watch.
func (m *Memory) Watch(first, last emu.PA, hook func(pa emu.PA, size uint8)) (stop func()) {
	w := &watcher{first, last, hook}
	m.watch = append(m.watch, w)
	m.forget()
	return func() {
		// A new slice: the watch may end inside its own hook.
		m.watch = slices.DeleteFunc(slices.Clone(m.watch), func(x *watcher) bool { return x == w })
		m.forget()
	}
}

func (m *Memory) watched(first, last emu.PA) bool {
	for _, w := range m.watch {
		if w.first <= last && first <= w.last {
			return true
		}
	}
	return false
}

// stored tells who watches that size bytes at pa were written.
func (m *Memory) stored(pa emu.PA, size uint8) {
	if len(m.watch) == 0 {
		return
	}
	for _, w := range m.watch {
		if w.first <= pa+emu.PA(size-1) && pa <= w.last {
			w.hook(pa, size)
		}
	}
}
