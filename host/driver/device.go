package driver

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/host"
)

// Device is what a driver knows of one requester.
type Device struct {
	SID     emu.SourceID
	Spec    host.DeviceSpec
	ATS     bool // it may hold translations
	PRI     bool // it may request pages
	Domains map[emu.PASID]*Domain
	Arch    any // what the architecture keeps of it

	suspects map[emu.PASID][]suspect
}

// Probe makes a device known and builds what its entries hang on.
func (d *Driver) Probe(sid emu.SourceID, s host.DeviceSpec) error {
	defer d.c.Enter().Leave()
	_, err := d.c.probe(sid, s)
	return err
}

func (c *Core) probe(sid emu.SourceID, s host.DeviceSpec) (*Device, error) {
	if c.Devices[sid] != nil {
		return nil, fmt.Errorf("%s: %#04x probed twice: %w", c.Name, uint32(sid), host.ErrDevice)
	}
	if sid > 0xffff {
		return nil, fmt.Errorf("%s: %#x is no requester id: %w", c.Name, uint32(sid), host.ErrDevice)
	}
	v := &Device{SID: sid, Spec: s, Domains: make(map[emu.PASID]*Domain), suspects: make(map[emu.PASID][]suspect)}
	if err := c.arch.Probe(v); err != nil {
		return nil, err
	}
	c.Devices[sid] = v
	return v, nil
}

// Release forgets a device and frees what belonged to it alone.
func (d *Driver) Release(sid emu.SourceID) error {
	c := d.c
	defer c.Enter().Leave()
	v := c.Devices[sid]
	if v == nil {
		return fmt.Errorf("%s: %#04x released: %w", c.Name, uint32(sid), host.ErrDevice)
	}
	if len(v.Domains) > 0 || len(v.suspects) > 0 {
		return fmt.Errorf("%s: %#04x released with %d domains: %w", c.Name, uint32(sid), len(v.Domains), host.ErrBusy)
	}
	if c.Left(sid) != nil {
		if err := c.Block(sid); err != nil {
			return err
		}
	}
	if err := c.arch.Release(v); err != nil {
		return err
	}
	delete(c.Devices, sid)
	return nil
}

// Label names a requester, and a PASID of it, for people.
func Label(sid emu.SourceID, pasid emu.PASID) string {
	s := fmt.Sprintf("%02x:%02x.%x", sid>>8, sid>>3&0x1f, sid&7)
	if pasid != emu.NoPASID {
		s += fmt.Sprintf(" PASID %#x", uint32(pasid))
	}
	return s
}
