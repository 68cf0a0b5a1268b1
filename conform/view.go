package conform

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/iommulab/iommulab/emu"
)

// RegisterReader is a Peer that reads many registers in one go: v[i] is register list[i].
type RegisterReader interface {
	ReadRegisters(list []RegisterAt, v []uint64) error
}

// RegisterAt is the place of a register in the window of a unit.
type RegisterAt struct {
	Off  uint32
	Size uint8 // 4 or 8 bytes
}

// view is what a machine shows after a step.
type view struct {
	regs []uint64  // by index of Target.registers
	read uint64    // RegRead
	ok   bool      // Transfer: carried out
	data uint64    // Transfer: what was read
	msgs []Message // by address and data: those of one step have no order
}

// look reads the registers of a peer.
func (t *Target) look(p Peer, regs []uint64) error {
	if r, ok := p.(RegisterReader); ok {
		return r.ReadRegisters(t.places, regs)
	}
	for i, r := range t.places {
		v, err := p.ReadReg(r.Off, r.Size)
		if err != nil {
			return err
		}
		regs[i] = v
	}
	return nil
}

// perform does a step on a peer and leaves what it showed in v, registers apart.
func perform(p Peer, s *Step, v *view) (err error) {
	v.read, v.ok, v.data = 0, false, 0
	switch s.Op {
	case RegWrite:
		err = p.WriteReg(s.Off, s.Size, s.Value)
	case RegRead:
		v.read, err = p.ReadReg(s.Off, s.Size)
	case MemWrite:
		err = p.Write(s.PA, s.bytes(nil))
	case Transfer, Interrupt:
		var b [8]byte
		var o Outcome
		o, err = p.DMA(s.dma(&b))
		if v.ok = o.OK; o.OK && s.Op == Transfer && !s.Write {
			v.data = binary.LittleEndian.Uint64(b[:])
		}
	case Clock:
		err = p.Step(s.Value)
	default:
		err = fmt.Errorf("step of unknown kind %d", s.Op)
	}
	if err != nil {
		return err
	}
	v.msgs, err = p.Messages()
	slices.SortStableFunc(v.msgs, compareMessages)
	return err
}

// word reads 8 bytes of memory of a peer.
func word(p Peer, pa emu.PA) (uint64, error) {
	var b [8]byte
	err := p.Read(pa, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}
