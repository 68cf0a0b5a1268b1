package emu

import "math/bits"

// The messages of PCIe address translation services (PCIe 10) between a unit and a device. Executors
// carry them as Act; here is what they say.

// MaxITags is the number of ATS invalidation requests that can be outstanding: values of an ITag.
const MaxITags = 32

// ATSUnit is a Unit that sends ATS invalidation requests (MsgATSInv). A request is posted: its end
// comes by ATSEnded, after the unit has gone on.
type ATSUnit interface {
	// ATSEnded tells the unit how its request with a tag ended: the completion of source has arrived,
	// or the time for it has run out. It says which engines that woke.
	ATSEnded(source SourceID, itag uint8, completed bool) Wake
	// UnexpectedATSCompletion tells the unit that a completion arrived from source that answers no
	// request of its.
	UnexpectedATSCompletion(source SourceID) Wake
}

// ATSInvalidation is an ATS invalidation request (PCIe 10.3.1).
type ATSInvalidation struct {
	PASID PASID  // NoPASID if it carries none
	Body  uint64 // address 63:12, S 11, Global 0
	ITag  uint8
}

// ATSInvalidation returns the request that an MsgATSInv carries.
func (a *Act) ATSInvalidation() ATSInvalidation {
	return ATSInvalidation{PASID: a.Key.Tag.PASID(), Body: a.Data[0], ITag: uint8(a.N)}
}

// Global reports whether the translations of all PASIDs are meant. It means nothing without a PASID.
func (q *ATSInvalidation) Global() bool { return q.Body&1 != 0 }

// Range returns the addresses meant: one page, or with S the block whose size is told by the ones from
// bit 12 upwards (PCIe 10.2.3.2). All ones up to bit 62 mean everything.
func (q *ATSInvalidation) Range() (first, last IOVA) {
	addr := q.Body &^ (PageSize - 1)
	lg2 := PageShift
	if q.Body>>11&1 != 0 {
		lg2 += bits.TrailingZeros64(^(addr >> PageShift)) + 1
	}
	if lg2 > 63 {
		return 0, ^IOVA(0)
	}
	m := uint64(1)<<lg2 - 1
	return IOVA(addr &^ m), IOVA(addr | m)
}

// PRGResponse is a page request group response (PCIe 10.4.2).
type PRGResponse struct {
	PASID PASID // NoPASID if it carries none
	Index uint16
	Code  uint8 // of PRGSuccess, PRGInvalid, PRGFailure; others count as PRGFailure
}

// Response codes.
const (
	PRGSuccess = 0x0 // all pages of the group are there
	PRGInvalid = 0x1 // one is not, and asking again will not help
	PRGFailure = 0xf // the page request interface is to be stopped
)

// PRGResponse returns the response that an MsgPRGResponse carries.
func (a *Act) PRGResponse() PRGResponse {
	return PRGResponse{PASID: a.Key.Tag.PASID(), Index: uint16(a.Data[0] & 0x1ff), Code: uint8(a.Data[0] >> 12 & 0xf)}
}

// SetPRGResponse makes a the question that sends r to source.
func (a *Act) SetPRGResponse(source SourceID, r PRGResponse) {
	a.Op, a.Msg = OpSend, MsgPRGResponse
	a.Key = Key{Tag: MakeTag(0, 0, r.PASID), Addr: uint64(source)}
	a.Data = [4]uint64{uint64(r.Index&0x1ff) | uint64(r.Code&0xf)<<12}
}
