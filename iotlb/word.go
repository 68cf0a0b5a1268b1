package iotlb

import "github.com/iommulab/iommulab/emu"

// word is a tag together with the size of an entry: what an entry compares besides its page number.
// lg2 lies in the six bits that emu.Tag leaves zero, its low half in 55:53, its high half in 63:61.
type word uint64

// size is a size in the two forms that a look-up needs.
type size struct {
	bits word
	lg2  uint8
}

const (
	sizeBits  word = 7<<53 | 7<<61
	pasidBits word = 1<<52 | 0xfffff<<32
	vacant         = sizeBits // the key of an empty place: no tag of size 0, which PeekAt compares
)

func makeWord(tag uint64, lg2 uint) word {
	return word(tag | uint64(lg2&7)<<53 | uint64(lg2>>3)<<61)
}

func (w word) tag() uint64      { return uint64(w &^ sizeBits) }
func (w word) class() emu.Class { return emu.Class(w>>56) & (numClasses - 1) }
func (w word) domain() uint32   { return uint32(w) }
func (w word) lg2() uint        { return uint(w>>53&7 | w>>61<<3) }
func (w word) pasid() emu.PASID { return emu.Tag(w.tag()).PASID() }
func (w word) group() word      { return w &^ pasidBits } // what all PASIDs of a domain share
func (w word) of(d uint32) word { return w&^0xffff_ffff | word(d) }
func (w word) in(g uint32) bool { return g>>w.class()&1 != 0 }
func validTag(tag emu.Tag) bool { return word(tag)&sizeBits == 0 }
func span(page uint64, lg2 uint) (first, last uint64) {
	first = page << (lg2 & 63)
	return first, first | (1<<(lg2&63) - 1)
}
