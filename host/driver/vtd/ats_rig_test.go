package vtd

import hw "github.com/iommulab/iommulab/emu/vtd"

// withPRI is a unit with all that page requests need.
func withPRI(c *hw.Config) { c.DT, c.PRS, c.PDS, c.NWFS = true, true, true, true }
