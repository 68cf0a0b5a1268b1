package guest

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/pagetable"
)

// Arm is stage 1 of an SMMUv3: tables of VMSAv8-64 of 48 bits, and one CD that leads to them.
type Arm struct {
	// ASID tells the domains of one guest apart, whatever the host has.
	ASID uint16
	// Granule is the log2 size of a page: 12, 14 or 16; 0 is 12.
	Granule uint8
	// Flags: hardware keeps accessed and dirty flags (IDR0.HTTU); otherwise they are set beforehand.
	Flags bool
	// Stall: faults stall.
	Stall bool
}

const (
	armBits      = 48
	armMAIR      = 0xff44 // AttrIndx 0 not cached, 1 write-back
	armWriteBack = 1
)

func (k Arm) granule() spec.Granule {
	if k.Granule == 0 {
		return spec.Granule4K
	}
	return spec.Granule(k.Granule)
}

// Format returns that of stage 1.
func (k Arm) Format(haw uint8, dirty bool) pagetable.Format {
	return pagetable.LPAES1{Granule: uint8(k.granule()), OAS: min(haw, armBits), HA: k.Flags, HD: k.Flags, Preset: !dirty}
}

// Config is that of tables of 48 bits.
func (k Arm) Config() pagetable.Config {
	g := k.granule()
	return pagetable.Config{
		Levels: (armBits - uint8(g) + g.Stride() - 1) / g.Stride(), VABits: armBits,
		Attr: armWriteBack | pagetable.LPAES1Shareability | pagetable.LPAES1NonGlobal,
	}
}

// Place makes the CD.
func (k Arm) Place(cpu *CPU, pages *host.OwnedFrames, t *pagetable.Table, s *host.DomainSpec) (err error) {
	tg, ok := k.granule().TG0()
	if !ok {
		return fmt.Errorf("guest: pages of 2^%d bytes: %w", k.Granule, host.ErrUnsupported)
	}
	if s.Root, err = pages.Alloc(emu.PageShift); err != nil {
		return err
	}
	root, _ := t.Root()
	ips := uint64(0)
	for spec.OASBits(ips) < t.Info().OABits {
		ips++
	}
	w := make([]uint64, 8)
	for _, f := range []struct {
		set func(words []uint64, v uint64)
		v   uint64
	}{
		{spec.CdT0SZ.Set, 64 - armBits}, {spec.CdTG0.Set, tg}, {spec.CdIR0.Set, 1}, {spec.CdOR0.Set, 1}, {spec.CdSH0.Set, spec.ShInner},
		{spec.CdEPD1.Set, 1}, {spec.CdIPS.Set, ips}, {spec.CdAA64.Set, 1}, {spec.CdR.Set, 1}, {spec.CdA.Set, 1}, {spec.CdASID.Set, uint64(k.ASID)},
		{spec.CdMAIR0.Set, armMAIR}, {spec.CdV.Set, 1},
	} {
		f.set(w, f.v)
	}
	w[0] |= spec.CdHA.PutBool(k.Flags) | spec.CdHD.PutBool(k.Flags) | spec.CdS.PutBool(k.Stall)
	w[1] |= uint64(root)
	for i, v := range w {
		cpu.Store64(s.Root+emu.PA(i*8), v)
	}
	cpu.Fence()
	return nil
}
