package host

import (
	"errors"

	"github.com/iommulab/iommulab/emu"
)

// PageRequest is one page that a device asks for (PCIe 10.4.1).
type PageRequest struct {
	Addr   emu.IOVA // of the page
	Access emu.Access
}

// PageGroup is a page request group: what a device waits for until it is answered as a whole.
type PageGroup struct {
	Source   emu.SourceID
	PASID    emu.PASID // NoPASID if the requests carried none
	Index    uint16    // of the group; the device may use it again after the answer
	Requests []PageRequest
}

// PageResponse is the answer to a page request group.
type PageResponse uint8

// The answers (PCIe 10.4.2).
const (
	PageSuccess PageResponse = emu.PRGSuccess // the device tries again
	PageInvalid PageResponse = emu.PRGInvalid // one of the pages does not exist, or not with these rights
	PageFailure PageResponse = emu.PRGFailure // the device is to stop requesting pages
)

// ErrPageGroup: a page request group that does not wait for an answer.
var ErrPageGroup = errors.New("no such page request group")

// PageRequester is a Driver that hands on what devices request that were probed with ATS and PRI.
type PageRequester interface {
	// OnPageRequest sets who is told of each complete group of page requests. fn may call the driver,
	// to map the pages and to respond; it is called when no other method runs, by the interrupt handler or
	// at the end of a method. Groups for which nobody is set, and those of (source, PASID) without a
	// domain, are answered with PageInvalid.
	OnPageRequest(fn func(PageGroup))
	// Respond answers a group, once; at once or later. Detach answers what is left of its (source, PASID)
	// with PageInvalid.
	//
	// Errors: ErrPageGroup, ErrTimeout.
	Respond(g PageGroup, r PageResponse) error
}
