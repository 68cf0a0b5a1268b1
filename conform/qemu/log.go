package qemu

import (
	"bytes"
	"strconv"

	"github.com/iommulab/iommulab/conform"
	"github.com/iommulab/iommulab/emu"
)

// What the log is asked to have: messages of devices after remapping, messages of the unit itself.
var vtdEvents = []string{"vtd_ir_remap_msi", "vtd_irq_generate"}

// seen is what the log told since it was last read.
type seen struct {
	messages []conform.Message
	own      int  // of these, how many are the unit's
	refused  bool // an access that nothing answered
}

// line takes one line of the log.
func (s *seen) line(text []byte) {
	switch {
	case bytes.Contains(text, []byte("vtd_ir_remap_msi ")):
		if _, after, ok := bytes.Cut(text, []byte(" -> ")); ok {
			s.message(after)
		}
	case bytes.Contains(text, []byte("vtd_irq_generate ")):
		s.message(text)
		s.own++
	case bytes.HasPrefix(text, []byte("Invalid read at addr ")), bytes.HasPrefix(text, []byte("Invalid write at addr ")):
		s.refused = true
	}
}

func (s *seen) message(text []byte) {
	s.messages = append(s.messages, conform.Message{Addr: emu.PA(number(text, "addr ")), Data: uint32(number(text, "data "))})
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
