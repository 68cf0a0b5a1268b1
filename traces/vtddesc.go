package traces

import "github.com/iommulab/iommulab/emu"

// vtdDescriptor decodes the first two words of a VT-d invalidation descriptor (VT-d 4.1, 6.5.2) into an
// Invalidate event. What concerns no cached translation comes back as a Marker with a text for it; the text
// of a wait, which is no invalidation at all, is empty.
func vtdDescriptor(low, high uint64) (e Event, mark string, ok bool) {
	e = Event{Kind: Invalidate, SID: NoSID, PASID: emu.NoPASID}
	marker := Event{Kind: Marker, SID: NoSID, PASID: emu.NoPASID}
	const (
		global = 1 // granularity, bits 5:4
		domain = 2
		page   = 3
	)
	kind := low>>9&7<<4 | low&0xf
	granularity := low >> 4 & 3
	byDomain := func() { e.PA, e.HasPA = emu.PA(low>>16&0xffff), true }
	// A range is 2^AM pages at an address whose low bits the hardware ignores.
	byRange := func() {
		size := uint64(emu.PageSize) << min(high&0x3f, 35)
		e.IOVA, e.Len = emu.IOVA(high&^(size-1)&^(emu.PageSize-1)), size
	}
	switch kind {
	case 2: // IOTLB
		switch granularity {
		case global:
		case domain:
			byDomain()
		case page:
			byDomain()
			byRange()
		default:
			return e, "", false
		}
	case 6: // PASID-based IOTLB: 2 = all of the PASID, 3 = pages
		if granularity < 2 {
			return e, "", false
		}
		byDomain()
		e.PASID = emu.PASID(low >> 32 & 0xfffff)
		if granularity == page {
			byRange()
		}
	case 3: // device-TLB
		e.SID = emu.SourceID(low >> 32 & 0xffff)
		e.deviceRange(high, high&1 != 0)
	case 8: // PASID-based device-TLB
		e.SID = emu.SourceID(low >> 16 & 0xffff)
		if high&1 == 0 { // G: all PASIDs
			e.PASID = emu.PASID(low >> 32 & 0xfffff)
		}
		e.deviceRange(high, high>>11&1 != 0)
	case 1:
		return marker, "context-cache invalidation", true
	case 4:
		return marker, "interrupt-entry-cache invalidation", true
	case 7:
		return marker, "PASID-cache invalidation", true
	case 9:
		return marker, "page-group response", true
	case 5:
		return marker, "", true
	default:
		return e, "", false
	}
	return e, "", true
}

// deviceRange sets the range of an ATS invalidation: with the size bit, the lowest zero bit of the address
// from bit 12 up gives the size; all ones are everything.
func (e *Event) deviceRange(high uint64, sized bool) {
	size := uint64(emu.PageSize)
	if sized {
		for size *= 2; size != 0 && high&(size>>1) != 0; size *= 2 {
		}
	}
	if size == 0 || size > MaxLen {
		e.IOVA, e.Len = 0, 0
		return
	}
	e.IOVA, e.Len = emu.IOVA(high&^(size-1)), size
}
