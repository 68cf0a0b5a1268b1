package amdvi_test

import (
	"github.com/iommulab/iommulab/emu/amdvi"
	"github.com/iommulab/iommulab/iotlb"
)

// noCaches takes all caches away.
func noCaches(c *amdvi.Config) {
	c.DTECache, c.GCR3Cache, c.IOTLB, c.Stage2 = iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}, iotlb.Geometry{}
	c.Walk, c.Walk2, c.Interrupt = nil, nil, iotlb.Geometry{}
}

// noPPR takes page requests away.
func noPPR(c *amdvi.Config) {
	c.PPRSup, c.PprEarlySup, c.PPRAutoRspSup, c.EPHSup = false, false, false, false
}
