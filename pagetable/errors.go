package pagetable

import (
	"fmt"
	"syscall"

	"github.com/iommulab/iommulab/emu"
)

// Errno is a kind of failure. errors.Is matches it itself as well as the error number that the
// operating system's interface reports for it.
type Errno struct {
	text string
	no   syscall.Errno
}

// Error returns what is wrong.
func (e *Errno) Error() string { return e.text }

// Unwrap returns the error number.
func (e *Errno) Unwrap() error { return e.no }

// The kinds of failure.
var (
	// ErrPerm (EINVAL): neither read nor write was asked for, or a permission or attribute that
	// the format or a table above cannot give.
	ErrPerm = &Errno{"no usable permission", syscall.EINVAL}
	// ErrLength (EINVAL): the length is zero, or a range ends before it starts.
	ErrLength = &Errno{"empty range", syscall.EINVAL}
	// ErrOverflow (EOVERFLOW): the IOVA range wraps around the end of the address space.
	ErrOverflow = &Errno{"range wraps around", syscall.EOVERFLOW}
	// ErrRange (ERANGE): an address is wider than the format's output address, or outside of the
	// largest aperture.
	ErrRange = &Errno{"address out of range", syscall.ERANGE}
	// ErrAlign (ENXIO): no page size fits, because IOVA, PA or length is not aligned.
	ErrAlign = &Errno{"no page size fits the alignment", syscall.ENXIO}
	// ErrExists (EADDRINUSE): a leaf is already there.
	ErrExists = &Errno{"already mapped", syscall.EADDRINUSE}
	// ErrNotMapped (ENOENT): there is no leaf.
	ErrNotMapped = &Errno{"not mapped", syscall.ENOENT}
	// ErrNoMemory (ENOMEM): no table page could be had.
	ErrNoMemory = &Errno{"no memory for a table page", syscall.ENOMEM}
	// ErrCorrupt (EIO): the tree holds an entry that a walker would refuse, or is no tree.
	ErrCorrupt = &Errno{"malformed table", syscall.EIO}
	// ErrBusy (EBUSY): someone else changed the same leaf at the same time.
	ErrBusy = &Errno{"changed concurrently", syscall.EBUSY}
	// ErrUnsupported (EOPNOTSUPP): the format has no such thing.
	ErrUnsupported = &Errno{"not supported by the format", syscall.EOPNOTSUPP}
	// ErrGeometry (EINVAL): the configuration does not fit the format.
	ErrGeometry = &Errno{"table configuration does not fit the format", syscall.EINVAL}
)

// OpError is a failed operation with its place.
type OpError struct {
	Op    string   // map, unmap, ...
	First emu.IOVA // where the operation began
	At    emu.IOVA // where it failed
	Entry emu.PA   // the entry it failed on, if Raw is meant
	Raw   uint64   // that entry's value
	Err   error    // why
}

// Error describes the operation, the place and the reason in one line.
func (e *OpError) Error() string {
	s := fmt.Sprintf("pagetable: %s %#x", e.Op, uint64(e.First))
	if e.At != e.First {
		s += fmt.Sprintf(" at %#x", uint64(e.At))
	}
	if e.Entry != 0 || e.Raw != 0 {
		s += fmt.Sprintf(" (entry %#x = %#016x)", uint64(e.Entry), e.Raw)
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }
