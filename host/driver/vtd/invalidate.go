package vtd

import (
	"fmt"

	"github.com/iommulab/iommulab/emu/vtd/spec"
	"github.com/iommulab/iommulab/host"
	"github.com/iommulab/iommulab/host/entry"
)

// omitWait reports whether waits are left out.
func (d *Driver) omitWait() bool { return d.k.Omit.Has(entry.OmitWait) }

// invalidate gives ops, in order, to hardware and waits. It is the only way to the caches.
//
// Errors: QueueError, driver.DeviceTimeout, ErrRejected, host.ErrTimeout.
func (d *Driver) invalidate(how entry.Batching, ops ...op) error {
	kept := make([]op, 0, len(ops))
	for _, o := range ops {
		if d.k.Omit&o.omit() == 0 {
			kept = append(kept, o)
		}
	}
	d.k.Count.Invalidations += uint64(len(kept))
	size := maxBatch
	if how == entry.WaitEach {
		size = 1
	}
	for len(kept) > 0 {
		n := min(size, len(kept))
		if err := d.carry(kept[:n]); err != nil {
			return err
		}
		kept = kept[n:]
	}
	return nil
}

// carry gives one batch to the queue or to the registers.
func (d *Driver) carry(ops []op) error {
	if d.queue == nil {
		for i := range ops {
			if err := d.command64(&ops[i]); err != nil {
				return err
			}
		}
		return nil
	}
	list := make([]desc, 0, len(ops)+1)
	for i := range ops {
		if i > 0 && ops[i-1].stage() < 2 && ops[i].stage() >= 2 {
			list = append(list, fenceDesc())
		}
		list = append(list, ops[i].encode(&d.caps))
	}
	return d.queue.submit(list, !d.omitWait())
}

// command64 carries out one invalidation by CCMD or by IVA and IOTLB (11.4.6).
func (d *Driver) command64(o *op) error {
	d.k.Count.Waits++
	switch o.typ {
	case spec.DescContext:
		d.k.Write(spec.OffCCMD, 8, spec.CcmdICC.Mask()|spec.CcmdCIRG.Put(o.gran)|
			spec.CcmdSID.Put(uint64(o.sid))|spec.CcmdDID.Put(uint64(o.did)))
		var v uint64
		err := d.k.Poll("CCMD.ICC", func() bool {
			v = d.k.Read(spec.OffCCMD, 8)
			return !spec.CcmdICC.On(v)
		})
		if err == nil && spec.CcmdCAIG.Of(v) == 0 {
			err = fmt.Errorf("vtd: CCMD granularity %d: %w", o.gran, ErrRejected)
		}
		return err
	case spec.DescIOTLB:
		return d.iotlbRegister(o)
	}
	return fmt.Errorf("vtd: descriptor type %d without a queue: %w", o.typ, host.ErrUnsupported)
}

func (d *Driver) iotlbRegister(o *op) error {
	if o.gran == spec.GranPage {
		d.k.Write(d.caps.iro+spec.OffIVA, 8, o.addr&spec.IvaADDR.Mask()|spec.IvaIH.PutBool(o.ih)|spec.IvaAM.Put(uint64(o.am)))
	}
	off := d.caps.iro + spec.OffIOTLB
	d.k.Write(off, 8, spec.IotlbIVT.Mask()|spec.IotlbIIRG.Put(o.gran)|spec.IotlbDID.Put(uint64(o.did))|
		spec.IotlbDW.PutBool(d.caps.dwd)|spec.IotlbDR.PutBool(d.caps.drd))
	var v uint64
	err := d.k.Poll("IOTLB.IVT", func() bool {
		v = d.k.Read(off, 8)
		return !spec.IotlbIVT.On(v)
	})
	if err != nil || spec.IotlbIAIG.Of(v) != 0 {
		return err
	}
	if o.gran == spec.GranPage {
		wider := iotlbDomain(o.did)
		return d.iotlbRegister(&wider)
	}
	return fmt.Errorf("vtd: IOTLB granularity %d: %w", o.gran, ErrRejected)
}
