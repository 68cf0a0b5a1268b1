package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/driver"
)

func (d arch) IDOf(_ *driver.Inherited, raw []uint64) uint32                          { return dteID(raw) }
func (d arch) SameTables(*driver.Inherited, emu.PASID, []uint64, *driver.Domain) bool { return false }
func (d arch) Block([]emu.SourceID) error                                             { return host.ErrUnsupported }
func (d arch) BlockInterrupts() error                                                 { return nil }
