package drivertest

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/timing"
)

// Stream is a device of the timed machine that reads one page for ever, several requests at a time.
type Stream struct {
	SID     emu.SourceID
	PASID   emu.PASID
	Pages   map[emu.PA]int // where reads went
	After   map[emu.PA]int // those whose caches were read after Since
	Since   uint64
	Blocked int
	On      bool

	m  *timing.Machine
	id int
}

// StreamPage is what streams read.
const StreamPage = emu.IOVA(0x10000)

// NewStream puts a device on a machine. Each call of Timer begins one more request at a time.
func NewStream(m *timing.Machine, sid emu.SourceID, pasid emu.PASID) *Stream {
	s := &Stream{m: m, SID: sid, PASID: pasid, Pages: map[emu.PA]int{}, After: map[emu.PA]int{}, On: true}
	s.id = m.AddClient(s)
	return s
}

// Complete notes where a read went, and begins another one.
func (s *Stream) Complete(c *timing.Completion) {
	if c.Result.Status == emu.OK {
		s.Pages[c.Result.PA]++
		if s.Since != 0 && c.Read > s.Since {
			s.After[c.Result.PA]++
		}
	} else {
		s.Blocked++
	}
	if s.On {
		s.m.Timer(s.id, s.m.Now()+3, c.Tag)
	}
}

// Timer begins a read.
func (s *Stream) Timer(tag uint32) {
	q := emu.Request{Addr: StreamPage, Source: s.SID, PASID: s.PASID, Len: 64, Access: emu.Read}
	if !s.m.Issue(s.id, 0, tag, &q) {
		s.m.Timer(s.id, s.m.Now()+10, tag)
	}
}

// Save has nothing to save.
func (s *Stream) Save(*emu.Encoder) {}

// Restore has nothing to restore.
func (s *Stream) Restore(*emu.Decoder) error { return nil }

// Settle begins to count anew what reads that look up from now on see.
func (s *Stream) Settle(at uint64) { s.Since, s.After, s.Blocked = at, map[emu.PA]int{}, 0 }
