// Package pasid holds the device side of an IOMMU's hardware: the caches of device entries and of
// PASID entries ([Cache]), and what they hold for one device ([View]).
//
// Entries are keyed by source, PASID and class, and owned by a domain: the source is Key.Addr, the
// PASID and the class are in Key.Tag, whose domain is 0, and the domain comes with the fill. So an
// invalidation can name the source (or a block of sources), the PASID, the owning domain, the
// class, or any combination. A cache of device entries is one whose tags carry emu.NoPASID.
//
// Package iotlb has the array, the replacement and the records that make invalidation by domain,
// or by PASID in a domain, cost the same for any number of entries. This package adds a list of the
// entries of each source, so that an invalidation by source costs as much as the source has
// entries; a block of sources is visited source by source if it is small, else by a scan.
//
// Entries have no address: emu.MatchAddress restricts nothing here, the safe reading (see package
// iotlb on MatchSource).
//
// A Cache is not safe for concurrent use.
package pasid
