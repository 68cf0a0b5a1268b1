package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/report"
)

// parseSID reads a requester: a number, or a PCI address as 01:02.3.
func parseSID(s string) (emu.SourceID, error) {
	if b, rest, ok := strings.Cut(s, ":"); ok {
		d, f, ok := strings.Cut(rest, ".")
		bus, e1 := strconv.ParseUint(b, 16, 8)
		dev, e2 := strconv.ParseUint(d, 16, 5)
		fun, e3 := strconv.ParseUint(f, 8, 3)
		if ok && e1 == nil && e2 == nil && e3 == nil {
			return emu.SourceID(bus<<8 | dev<<3 | fun), nil
		}
	} else if v, err := strconv.ParseUint(s, 0, 32); err == nil {
		return emu.SourceID(v), nil
	}
	return 0, fmt.Errorf("%q, want a requester as 0x10 or 00:02.0", s)
}

// showPCI writes a requester as a PCI address, if it has one.
func showPCI(s emu.SourceID) string {
	if s > 0xffff {
		return "no PCI address"
	}
	return fmt.Sprintf("%02x:%02x.%d", uint32(s)>>8, uint32(s)>>3&31, uint32(s)&7)
}

func showSID(s emu.SourceID) string { return fmt.Sprintf("0x%04x", uint32(s)) }

// parsePASID reads a PASID; "" is none.
func parsePASID(s string) (emu.PASID, error) {
	if s == "" {
		return emu.NoPASID, nil
	}
	v, err := strconv.ParseUint(s, 0, 32)
	if err != nil || v > uint64(emu.MaxPASID) {
		return 0, fmt.Errorf("%q, want a PASID of 20 bits", s)
	}
	return emu.PASID(v), nil
}

func showPASID(p emu.PASID) string {
	if p == emu.NoPASID {
		return ""
	}
	return strconv.FormatUint(uint64(p), 10)
}

// parseAddr reads an address; a number without 0x is decimal.
func parseAddr(s string) (uint64, error) {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("%q, want an address as 0x1000", s)
	}
	return v, nil
}

// parseAccess reads rights: letters of RWXP, in any case.
func parseAccess(s string) (emu.Access, error) {
	var a emu.Access
	for _, c := range strings.ToUpper(s) {
		switch c {
		case 'R':
			a |= emu.Read
		case 'W':
			a |= emu.Write
		case 'X':
			a |= emu.Exec | emu.Read
		case 'P':
			a |= emu.Priv
		default:
			return 0, fmt.Errorf("%q, want letters of R, W, X, P", s)
		}
	}
	if a&emu.RW == 0 {
		return 0, fmt.Errorf("%q, want R or W", s)
	}
	return a, nil
}

// requestLen is the size of the DMA that walk and explain do.
const requestLen = 8

// makeRequest returns a DMA of requestLen bytes, or fewer at the end of a page.
func makeRequest(sid emu.SourceID, p emu.PASID, iova uint64, access emu.Access) emu.Request {
	return emu.Request{
		Addr: emu.IOVA(iova), Source: sid, PASID: p, Access: access,
		Len: uint32(min(requestLen, emu.PageSize-iova%emu.PageSize)),
	}
}

// resultName is what results call a status.
func resultName(s emu.Status) string {
	switch s {
	case emu.OK:
		return "ok"
	case emu.Interrupt:
		return "interrupt"
	case emu.Posted:
		return "posted"
	}
	return "fault"
}

// attributed is a unit that knows the memory attributes of accesses.
type attributed interface {
	// AttrName returns attributes of a result in words.
	AttrName(attr uint16) string
}

// fill completes t with what became of its request.
func fill(t *report.Translation, u emu.Unit, r *emu.Result) {
	t.Result = resultName(r.Status)
	switch r.Status {
	case emu.OK:
		t.PA = hexOf(uint64(r.PA))
		t.Perm = r.Perm.String()
		if r.Lg2 < 64 {
			t.PageSize = hexOf(1 << r.Lg2)
		}
		if a, ok := u.(attributed); ok && r.Attr != 0 {
			t.Memory = a.AttrName(r.Attr)
		}
	case emu.Interrupt, emu.Posted:
		if r.Status == emu.Interrupt {
			t.Data = hexOf(uint64(r.Data))
		}
		t.PA = hexOf(uint64(r.PA))
	default:
		t.Fault = u.FaultName(r.Fault.Code)
		t.FaultCode = hexOf(uint64(r.Fault.Code))
	}
}
