package guest

import (
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// below is the kind of a Spec without one.
func below(s *Spec) Kind { return x86{s.Levels, s.Large} }

// x86 has the tables themselves below the host's entry.
type x86 struct {
	levels uint8
	large  bool
}

func (k x86) Format(haw uint8, dirty bool) pagetable.Format {
	f := pagetable.X86{HAW: haw, Preset: !dirty, Dirty: dirty}
	if !k.large {
		f.Without = 1 << 30
	}
	return f
}

func (k x86) Config() pagetable.Config { return pagetable.Config{Levels: k.levels} }

func (k x86) Place(_ *CPU, _ *host.OwnedFrames, t *pagetable.Table, s *host.DomainSpec) error {
	s.Root, s.Levels = t.Root()
	return nil
}
