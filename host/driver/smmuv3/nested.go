package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/reg"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

// A nested domain is what a guest's STE says, over the stage 2 of the host. The guest has CDs and stage 1
// tables in its own memory. Its translations have the parent's VMID, and ASIDs that the guest has chosen.

// Of a guest's STE counts what describes stage 1; the rest is the host's.
var (
	guestMask0 = spec.SteS1Fmt.Mask() | spec.SteS1Context.Mask() | spec.SteS1CDMax.Mask()
	guestMask1 = spec.SteS1DSS.Mask() | spec.SteS1CIR.Mask() | spec.SteS1COR.Mask() | spec.SteS1CSH.Mask() | spec.SteS1STALLD.Mask()
)

// nestedDomain checks what is asked of a nested domain. Without words of a guest's STE there is one CD, at
// Spec.Root.
func (d *Driver) nestedDomain(m *driver.Domain) (build func() error, err error) {
	if !d.caps.s1 || !d.caps.s2 {
		return nil, fmt.Errorf("smmuv3: nested translation: %w", host.ErrUnsupported)
	}
	p, err := d.c.ParentOf(m)
	if err != nil {
		return nil, err
	}
	if n := len(m.Spec.Guest); n != 0 && n != 2 {
		return nil, fmt.Errorf("smmuv3: %d words of a guest's STE, want 2: %w", n, host.ErrUnsupported)
	}
	m.Share(p)
	return func() error {
		m.Nest(p, 0)
		return nil
	}, nil
}

// guestSTE returns the two words of the guest's STE.
func guestSTE(m *driver.Domain) [2]uint64 {
	if len(m.Spec.Guest) == 2 {
		return [2]uint64(m.Spec.Guest)
	}
	return [2]uint64{
		spec.SteV.Mask() | spec.SteConfig.Put(spec.ConfigS1) | uint64(m.Root),
		field1(spec.SteS1CIR, steWBRA) | field1(spec.SteS1COR, steWBRA) | field1(spec.SteS1CSH, spec.ShInner),
	}
}

// field1 is a field of the second word with a value.
func field1(b reg.Bits, v uint64) uint64 { return b.Put(v) }

// guestConfig is Config of the host's STE: what the guest lets pass goes through stage 2 alone.
func guestConfig(m *driver.Domain) uint64 {
	g := guestSTE(m)
	switch c := spec.SteConfig.Of(g[0]); {
	case !spec.SteV.On(g[0]) || c&4 == 0:
		return spec.ConfigAbort
	case c&1 == 0:
		return spec.ConfigS2
	}
	return spec.ConfigNested
}

// guestWords puts the guest's stage 1 into an STE.
func (d *Driver) guestWords(w []uint64, s *stream, m *driver.Domain) {
	g := guestSTE(m)
	w[0] |= g[0] & guestMask0
	w[1] |= g[1] & guestMask1
	if d.caps.mayNotStall && !s.stall {
		spec.SteS1STALLD.Set(w, 1)
	} else if !d.caps.mayNotStall {
		spec.SteS1STALLD.Set(w, 0)
	}
}

// GuestCommand carries out an invalidation that a guest has put into a command queue of its own, for the
// device sid of the machine. dom is a nested domain of the guest, or its parent. StreamID and VMID are the
// host's; what a guest cannot have is refused.
//
// Errors: host.ErrUnsupported; those of the queue.
func (d *Driver) GuestCommand(dom host.Domain, sid emu.SourceID, c [2]uint64) error {
	defer d.c.Enter().Leave()
	m, err := d.c.Own(dom)
	if err != nil {
		return err
	}
	w := command(c)
	switch w.op() {
	case spec.CmdCfgiSTE, spec.CmdCfgiCD, spec.CmdCfgiCDAll:
		spec.CmdSID.Set(w[:], uint64(sid))
	case spec.CmdAtcInv:
		if !d.caps.ats {
			return nil
		}
		spec.CmdSID.Set(w[:], uint64(sid))
	case spec.CmdTlbiNHAll, spec.CmdTlbiNHASID, spec.CmdTlbiNHVA, spec.CmdTlbiNHVAA:
		spec.CmdVMID.Set(w[:], uint64(m.ID()))
	case spec.CmdTlbiNSNHAll:
		w = tlbiVMID(m.ID())
	default:
		return fmt.Errorf("smmuv3: command %#x of a guest: %w", w.op(), host.ErrUnsupported)
	}
	return d.invalidate(0, w)
}
