package qemu

import (
	"bytes"
	"strconv"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

// seen is what the log told since it was last read.
type seen struct {
	messages []conform.Message
	own      int  // of these, how many are the unit's
	refused  bool // an access that nothing answered

	reading bool              // messages of devices carry what they have read
	data    []conform.Message // such messages, as they were sent
	raised  bool              // the unit is about to send a message
}

// line takes one line of the log.
func (s *seen) line(u *unit, text []byte) {
	if bytes.HasPrefix(text, []byte("Invalid read at addr ")) || bytes.HasPrefix(text, []byte("Invalid write at addr ")) {
		s.refused = true
		return
	}
	u.line(s, text)
}

// vtd knows messages of devices after remapping, and those of the unit itself.
func (s *seen) vtd(text []byte) {
	switch {
	case bytes.Contains(text, []byte("vtd_ir_remap_msi ")):
		if from, to, ok := bytes.Cut(text, []byte(" -> ")); ok {
			s.remapped(message(from), message(to))
		}
	case bytes.Contains(text, []byte("vtd_irq_generate ")):
		s.messages = append(s.messages, message(text))
		s.own++
	}
}

// amdvi knows what devices send, what of it passes and how, and, by what the interrupt controller makes
// of it, the messages of the unit itself.
func (s *seen) amdvi(text []byte) {
	switch {
	case bytes.Contains(text, []byte("amdvi_mem_ir_write_req ")):
		s.raised = false
		if s.reading {
			s.data = append(s.data, message(text))
			s.data[len(s.data)-1].Addr += interrupts
		}
	case bytes.Contains(text, []byte("amdvi_ir_remap_msi ")):
		if _, to, ok := bytes.Cut(text, []byte(" -> ")); ok && !s.reading {
			s.messages = append(s.messages, message(to))
		}
	case bytes.Contains(text, []byte("amdvi_generate_msi_interrupt ")):
		s.raised = true
	case s.raised && bytes.Contains(text, []byte("apic_deliver_irq ")):
		s.raised = false
		s.messages = append(s.messages, delivered(text))
		s.own++
	}
}

// remapped takes a message of a device, as it was sent and as it left the unit.
func (s *seen) remapped(from, to conform.Message) {
	if s.reading {
		s.data = append(s.data, from)
		return
	}
	s.messages = append(s.messages, to)
}

func message(text []byte) conform.Message {
	return conform.Message{Addr: emu.PA(number(text, "addr ")), Data: uint32(number(text, "data "))}
}

// interrupts is where interrupt messages go.
const interrupts = 0xfee0_0000

// delivered puts a message together again from what the interrupt controller took out of it (Intel SDM
// volume 3, 11.11).
func delivered(text []byte) conform.Message {
	get := func(name string) uint64 {
		_, after, _ := bytes.Cut(text, []byte(name))
		n := 0
		for n < len(after) && after[n] >= '0' && after[n] <= '9' {
			n++
		}
		v, _ := strconv.ParseUint(string(after[:n]), 10, 16)
		return v
	}
	return conform.Message{
		Addr: emu.PA(interrupts | get(" dest ")&0xff<<12 | get(" dest_mode ")&1<<2),
		Data: uint32(get(" vector ")&0xff | get(" delivery_mode ")&7<<8 | get(" trigger_mode ")&1<<15),
	}
}

// number reads the hexadecimal number behind a name; 0 if there is none.
func number(text []byte, name string) uint64 {
	_, after, _ := bytes.Cut(text, []byte(name+"0x"))
	n := 0
	for n < len(after) && (after[n] >= '0' && after[n] <= '9' || after[n] >= 'a' && after[n] <= 'f') {
		n++
	}
	v, _ := strconv.ParseUint(string(after[:n]), 16, 64)
	return v
}
