package clock

import (
	"math/rand/v2"

	"github.com/iommulab/iommulab/emu"
)

// Stream is the random numbers of one component. Each component has its own, named after it, so
// that adding one shifts no other's. The embedded Rand has the distributions.
type Stream struct {
	*rand.Rand
	pcg *rand.PCG
}

// NewStream returns the stream of the component name in a run with the given seed.
func NewStream(seed uint64, name string) *Stream {
	h := fnv1a(name)
	pcg := rand.NewPCG(seed^h, h)
	return &Stream{Rand: rand.New(pcg), pcg: pcg}
}

// fnv1a is the 64-bit FNV-1a hash.
func fnv1a(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return h
}

// Save appends the state to e.
func (s *Stream) Save(e *emu.Encoder) {
	e.Section("stream", 1)
	b, err := s.pcg.MarshalBinary()
	if err != nil {
		panic("clock: the state of a PCG can always be written: " + err.Error())
	}
	e.String(string(b))
}

// Restore takes over the state that Save wrote.
func (s *Stream) Restore(d *emu.Decoder) error {
	d.Section("stream", 1)
	b := d.String()
	if d.Err() == nil {
		if err := s.pcg.UnmarshalBinary([]byte(b)); err != nil {
			d.Fail("stream: %v", err)
		}
	}
	return d.Err()
}
