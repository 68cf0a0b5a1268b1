// Package qemu makes QEMU's models of IOMMUs peers of package conform.
//
// What they are asked is asked without disturbing them. A device that QEMU brings along for tests
// ("edu") does the DMA; it has a buffer that a processor cannot see. Values to be written are therefore
// put into the buffer before translation is on, once (conform.Tag). What was read is sent as an interrupt
// message to a processor that does not exist: such writes do not go through DMA translation, touch none
// of its caches, and QEMU's trace log shows what they carry. Whether an access was refused stands in the
// same log, whatever the reason was and whether or not the IOMMU reported it.
package qemu
