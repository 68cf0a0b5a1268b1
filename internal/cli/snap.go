package cli

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/mem"
	"github.com/iommulab/iommulab/emu/mem/snapshot"
)

// snapFlags are the flags of commands that read a snapshot.
type snapFlags struct{ core, regs string }

func (f *snapFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.core, "core", "", "memory of the snapshot: ELF64 core `FILE`, plain or zstd")
	cmd.Flags().StringVar(&f.regs, "regs", "", "registers of the snapshot: JSON `FILE`")
}

// need checks that the flags are there.
func (f *snapFlags) need(cmd *cobra.Command, core bool) error {
	if core && f.core == "" {
		return usageError(cmd, "--core is missing")
	}
	if f.regs == "" {
		return usageError(cmd, "--regs is missing")
	}
	return nil
}

// snap is a snapshot that was read.
type snap struct {
	arch *arch
	regs *snapshot.Regs
	mem  *mem.Memory    // nil if no core was asked for
	core *snapshot.Core // likewise
	unit emu.Unit       // nil but for those who asked for one

	notes []string // what was looked for and is not there, once each
}

// loadUnit reads the snapshot and brings a unit into its state.
func (a *app) loadUnit(f *snapFlags) (*snap, error) {
	s, err := a.load(f)
	if err != nil {
		return nil, err
	}
	if s.unit, err = s.arch.newUnit(); err != nil {
		return nil, err
	}
	if err := s.unit.Load(s.regs.Image); err != nil {
		return nil, &placeError{place: f.regs, err: err}
	}
	return s, nil
}

// load reads the snapshot.
func (a *app) load(f *snapFlags) (*snap, error) {
	s, err := a.loadRegs(f.regs)
	if err != nil {
		return nil, err
	}
	in, err := a.open(f.core)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if s.mem, s.core, err = snapshot.ReadCore(in, in.name); err != nil {
		return nil, err
	}
	return s, nil
}

// loadRegs reads the registers alone.
func (a *app) loadRegs(path string) (*snap, error) {
	in, err := a.open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	s := &snap{}
	if s.regs, err = snapshot.ReadRegs(in, in.name); err != nil {
		return nil, err
	}
	var ok bool
	if s.arch, ok = findArch(s.regs.IOMMU); !ok {
		return nil, fmt.Errorf("%s: iommu: %q, want %s", in.name, s.regs.IOMMU, known(archNames()))
	}
	return s, nil
}

// registerAt returns size bytes at off of an image, and whether all of them are in it.
func registerAt(img emu.RegImage, off uint32, size uint8) (v uint64, ok bool) {
	var have uint8
	for _, r := range img {
		for i := range uint32(r.Size) {
			if at := r.Off + i; at >= off && at < off+uint32(size) {
				v |= r.Value >> (8 * i) & 0xff << (8 * (at - off))
				have++
			}
		}
	}
	return v, have == size
}

// read returns n words of a structure at pa; what is not in the snapshot is 0 and noted, once per page.
func (s *snap) read(what string, pa emu.PA, n int) []uint64 {
	w := make([]uint64, n)
	for i := range w {
		at := pa + emu.PA(8*i)
		if !s.core.Covers(at) {
			s.note("%s: page %#x is not in the snapshot, taken as 0", what, uint64(at)&^(emu.PageSize-1))
			break
		}
		w[i], _ = s.mem.Load64(at)
	}
	return w
}

// covered calls each with the index of every entry of a table at pa that is in the snapshot, and notes if
// others are not.
func (s *snap) covered(what string, pa emu.PA, entries uint64, bytes int, each func(i uint64) error) error {
	segments := slices.SortedFunc(slices.Values(s.core.Segments), func(a, b snapshot.Segment) int { return cmp.Compare(a.First, b.First) })
	size := emu.PA(bytes)
	var next, have uint64
	for _, g := range segments {
		if entries == 0 || g.Last < pa {
			continue
		}
		first := next
		if g.First > pa {
			first = max(next, uint64((g.First-pa+size-1)/size))
		}
		for i := first; i < entries && pa+emu.PA(i)*size+size-1 <= g.Last; i++ {
			if err := each(i); err != nil {
				return err
			}
			next, have = i+1, have+1
		}
	}
	if have < entries {
		s.note("%s at %#x: %d of %d entries are not in the snapshot", what, uint64(pa), entries-have, entries)
	}
	return nil
}

// maxNotes bounds what a damaged snapshot makes a command say.
const maxNotes = 64

func (s *snap) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); len(s.notes) < maxNotes && !slices.Contains(s.notes, n) {
		s.notes = append(s.notes, n)
	}
}

func zeros(w []uint64) bool {
	for _, v := range w {
		if v != 0 {
			return false
		}
	}
	return true
}
