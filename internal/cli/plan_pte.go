package cli

import (
	"github.com/spf13/cobra"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/hitless/lab"
)

// pteFlags are the flags of plan that say which entry of a page table is rewritten.
type pteFlags struct {
	stage, bbml           uint8
	level                 int8
	iova                  uint64
	granule               string
	dirty, alike, caching bool
}

// pteNames are the flags of kind pte alone.
var pteNames = []string{"stage", "level", "iova", "granule", "bbml", "dirty", "alike", "caching"}

// granules of SMMUv3, by log2.
var granules = map[string]uint8{"": 0, "4K": 12, "16K": 14, "64K": 16}

func (f *pteFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.Uint8Var(&f.stage, "stage", 0, "pte: `STAGE` of translation: 1 (AMD v2) or 2 (AMD v1); 0 is 2, with SMMUv3 1")
	s.Int8Var(&f.level, "level", 0, "pte: `LEVEL` of the table: 0 has the smallest pages")
	s.Uint64Var(&f.iova, "iova", 0, "pte: an address that the entry translates: `ADDR`")
	s.StringVar(&f.granule, "granule", "", "pte, SMMUv3: smallest page: 4K, 16K, 64K; default 4K")
	s.Uint8Var(&f.bbml, "bbml", 2, "pte, SMMUv3: break-before-make `LEVEL` (IDR3.BBML): 0, 1, 2")
	s.BoolVar(&f.dirty, "dirty", false, "pte: hardware marks entries as accessed and dirty, where that is a choice")
	s.BoolVar(&f.alike, "alike", false, "pte: both contents translate to the same pages")
	s.BoolVar(&f.caching, "caching", false, "pte: the unit caches entries that are not present (CAP.CM, NpCache)")
	complete(cmd, "granule", "4K", "16K", "64K")
}

// check fills in what the flags say, and refuses them for other kinds.
func (f *pteFlags) check(cmd *cobra.Command, kind string, o *lab.Options) error {
	if kind != "pte" {
		for _, n := range pteNames {
			if cmd.Flags().Changed(n) {
				return usageError(cmd, "--%s: only for kind pte", n)
			}
		}
		return nil
	}
	granule, ok := granules[f.granule]
	if !ok {
		return usageError(cmd, "--granule: %q, want 4K, 16K, 64K", f.granule)
	}
	if f.stage > 2 {
		return usageError(cmd, "--stage: %d, want 1 or 2", f.stage)
	}
	o.PTE = &lab.PTE{
		IOVA: emu.IOVA(f.iova), Level: f.level, Granule: granule, Dirty: f.dirty, Alike: f.alike, Caching: f.caching,
	}
	if cmd.Flags().Changed("bbml") || cmd.Flag("iommu").Value.String() == "smmuv3" {
		o.PTE.BBML = f.bbml
	}
	return nil
}
