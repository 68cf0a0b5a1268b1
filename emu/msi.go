package emu

// A message to a processor is a 4-byte write with the layout of local interrupt controllers (SDM
// volume 3, 11.11; the upper half as interrupt remapping with 32-bit destinations writes it):
//
//	address  63:40 destination 31:8, 39:32 0, 31:20 FEEh, 19:12 destination 7:0, 11:4 0, 3 RH, 2 DM
//	data     15 level-triggered, 14 assert, 10:8 delivery mode, 7:0 vector
//
// With DM=0 the destination is the number of a processor. With DM=1 it is a set: destination 31:16 is
// a group of 16 processors, bit i of destination 15:0 is processor i of the group. RH=1 picks the
// first of a set. There is no broadcast.

// MSIAddress is the address of messages to processor 0.
const MSIAddress PA = 0xfee0_0000

// FirstVector is the first vector that a processor hands out. Those below are its exceptions, and 0
// is what a forgotten data register would send.
const FirstVector = 0x20

const (
	msiDM     = 1 << 2
	msiRH     = 1 << 3
	msiLowest = 1 << 8 // delivery mode 1: lowest priority
)

// IsMSI reports whether a write to addr is a message to processors; one to any other address is data.
func IsMSI(addr PA) bool { return addr>>32&0xff == 0 && addr&0xfff0_0ff0 == MSIAddress }

// MSITo returns the address of messages to processor number cpu.
func MSITo(cpu uint32) PA { return MSIAddress | PA(cpu&0xff)<<12 | PA(cpu>>8)<<40 }

// MSIReaches reports whether a message to addr is for processor number cpu, and whether it is for no
// other one then.
func MSIReaches(addr PA, cpu uint32) (ok, only bool) {
	if !IsMSI(addr) {
		return false, false
	}
	dest := uint32(addr>>12)&0xff | uint32(addr>>40)<<8
	if addr&msiDM == 0 {
		return dest == cpu, true
	}
	return dest>>16 == cpu>>4 && dest>>(cpu&15)&1 != 0, addr&msiRH != 0
}

// MSIHandler returns which of n handlers, whose data are FirstVector and up, a message with data
// invokes. Only fixed and lowest-priority delivery invoke one. How the interrupt is triggered does not
// matter: every message is an assertion. Data beyond 255 are no vectors of a real processor, but a
// lab may have as many handlers.
func MSIHandler(data uint32, n int) (i int, ok bool) {
	v := data &^ 0xc000
	if i = int(v) - FirstVector; i < 0 || i >= n {
		if v&0xff00 != msiLowest {
			return 0, false
		}
		i = int(v&0xff) - FirstVector
	}
	return i, i >= 0 && i < n
}
