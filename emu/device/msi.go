package device

import (
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// Message is an interrupt message of a device: what software has programmed into its MSI capability
// or MSI-X table.
type Message struct {
	Source emu.SourceID
	Addr   emu.IOVA
	Data   uint32
}

// Request returns the write that carries the message (PCIe 6.1.4).
func (m Message) Request() emu.Request {
	return emu.Request{Addr: m.Addr, Source: m.Source, PASID: emu.NoPASID, Len: 4, Access: emu.Write, Data: m.Data}
}

// Interrupt sends m in front of what the source still has, behind all requests issued before. If
// it cannot go out at once it waits; a message that waits is not sent twice, as with the pending bits
// of MSI-X.
func (p *Player) Interrupt(m Message) {
	if !slices.Contains(p.messages, m) {
		p.messages = append(p.messages, m)
	}
	p.Kick()
}

// Pending returns the messages that wait, oldest first.
func (p *Player) Pending() []Message { return slices.Clone(p.messages) }
