package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// DeviceTimeout is an invalidation of a device's TLB that timed out time and again.
type DeviceTimeout struct {
	Driver string // that sent it
	Source emu.SourceID
	Tries  int
}

// Error names the device.
func (e *DeviceTimeout) Error() string {
	return fmt.Sprintf("%s: device %#04x, %d tries: %v", e.Driver, uint32(e.Source), e.Tries, host.ErrDeviceTLB)
}

// Unwrap returns host.ErrDeviceTLB and host.ErrTimeout.
func (e *DeviceTimeout) Unwrap() []error { return []error{host.ErrDeviceTLB, host.ErrTimeout} }
