package qemu

import "github.com/iommulab/iommulab/conform"

var _ conform.RegisterReader = (*Peer)(nil)

// ReadRegisters reads registers of the unit in one exchange.
func (v *Peer) ReadRegisters(list []conform.RegisterAt, out []uint64) error {
	for _, r := range list {
		if err := v.width(r.Size); err != nil {
			return err
		}
		v.batch.Read(v.base+uint64(r.Off), r.Size)
	}
	vals, err := v.p.Do(&v.batch)
	v.batch.Reset()
	if err != nil {
		return err
	}
	copy(out, vals)
	return nil
}
