package spec

import (
	"fmt"
	"strings"

	"github.com/iommulab/iommulab/emu/reg"
)

// MemAttr are the memory attributes of an access, 13.1.1: an attribute in the encoding of MAIR, and the
// shareability. It is what emu.Result.Attr holds. 0 is none: device memory is outer shareable.
type MemAttr uint16

// The parts of a MemAttr.
const (
	AttrSH   reg.Bits = 1_000
	AttrType reg.Bits = 9_002 // as MAIR

	DevicenGnRnE = 0x00 // values of AttrType
	NormalNC     = 0x44
	NormalWB     = 0xff // read and write allocate, not transient
)

// MakeMemAttr composes attributes.
func MakeMemAttr(mair uint8, sh uint64) MemAttr {
	return MemAttr(AttrType.Put(uint64(mair)) | AttrSH.Put(sh))
}

// MAIR returns the attribute in the encoding of MAIR.
func (a MemAttr) MAIR() uint8 { return uint8(AttrType.Of(uint64(a))) }

// SH returns the shareability.
func (a MemAttr) SH() uint64 { return AttrSH.Of(uint64(a)) }

// Device reports whether this is device memory.
func (a MemAttr) Device() bool { return a.MAIR()>>4 == 0 }

// String returns the attributes in the notation of 13.1.1, "Normal-iWB/RAWAnTR-oNC-ISH", and "-" for none.
func (a MemAttr) String() string {
	m := a.MAIR()
	switch {
	case a == 0:
		return "-"
	case a.Device():
		return "Device-" + [4]string{"nGnRnE", "nGnRE", "nGRE", "GRE"}[m>>2&3]
	case m == NormalNC:
		return "Normal-iNC-oNC"
	}
	return fmt.Sprintf("Normal-i%s-o%s-%s", cacheability(m&15), cacheability(m>>4), [4]string{"NSH", "reserved", "OSH", "ISH"}[a.SH()])
}

// cacheability describes half an attribute of normal memory.
func cacheability(n uint8) string {
	if n == NormalNC&15 {
		return "NC"
	}
	var s strings.Builder
	for _, f := range []struct {
		name string
		on   bool
	}{{"WB", n&4 != 0}, {"RA", n&2 != 0}, {"WA", n&1 != 0}, {"TR", n&8 == 0}} {
		switch {
		case f.name == "WB" && f.on:
			s.WriteString("WB/")
		case f.name == "WB":
			s.WriteString("WT/")
		case f.on:
			s.WriteString(f.name)
		default:
			s.WriteString("n" + f.name)
		}
	}
	return s.String()
}
