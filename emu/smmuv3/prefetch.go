package smmuv3

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// Prefetching, 4.2: the command engine makes its job a translation that asks for no rights, and whose end nobody
// is told of. Being done in the order of commands, it fills nothing behind an invalidation.

// Kinds of requests besides emu.ReqType's own.
const (
	reqPrefetchConfig = emu.Job + 1 // STE and CD only
	reqPrefetch       = emu.Job + 2
)

// maxPrefetch is how many addresses of a command are translated.
const maxPrefetch = 16

// prefetch is what is left to be done of a command.
type prefetch struct {
	Busy   bool // the command engine's job is one of its translations
	Config bool
	Left   uint8
	SID    uint32
	PASID  uint32
	Addr   uint64
	Stride uint64
}

// cmdPrefetch executes both commands.
func cmdPrefetch(u *Unit, t *emu.Txn) {
	w0, w1 := t.Entry[0], t.Entry[1]
	u.cmdConsumed()
	if u.on {
		p := prefetch{Left: 1, SID: uint32(spec.CmdSID.Of(w0)), PASID: uint32(emu.NoPASID)}
		if spec.CmdSSV.On(w0) {
			p.PASID = uint32(spec.CmdSSID.Of(w0))
		}
		p.Config = spec.CmdOpcode.Of(w0) == spec.CmdPrefetchConfig
		if !p.Config {
			p.Left = uint8(min(uint64(1)<<spec.PfSize.Of(w1), maxPrefetch))
			p.Addr = w1 & spec.CmdAddr.Mask()
			p.Stride = emu.PageSize
			if u.cfg.Minor > 0 {
				p.Stride <<= spec.PfStride.Of(w1)
			}
		}
		u.s.Prefetch = p
	}
	u.cmdNext(t)
}

// prefetchNext makes the engine's job the next translation of a prefetch. It returns false if there is none. An
// update that waits for it ends the prefetch.
func (u *Unit) prefetchNext(t *emu.Txn) bool {
	p := &u.s.Prefetch
	if p.Busy && u.s.ControlWaits {
		t.Wake |= EngineControl.Set()
		p.Left = 0
	}
	p.Busy = p.Left != 0 && u.on
	if !p.Busy {
		p.Left = 0
		return false
	}
	q := emu.Request{Source: emu.SourceID(p.SID), PASID: emu.PASID(p.PASID), Addr: emu.IOVA(p.Addr), Type: reqPrefetch}
	if p.Config {
		q.Type = reqPrefetchConfig
	}
	p.Left--
	p.Addr += p.Stride
	wake := t.Wake | EngineCommand.Set() // which goes on behind it
	t.Begin(&q, stFrontEnd)
	t.Wake = wake
	t.Known, t.Classes = emu.KnownLive, structClasses
	u.stream(t)
	return true
}

// configOnly ends t if only its configuration was wanted.
func configOnly(t *emu.Txn) bool {
	if t.Req.Type != reqPrefetchConfig {
		return false
	}
	t.Done(StepCommandDecode)
	return true
}
