// Package driver is what the drivers of all architectures have in common, which is most of what an
// operating system's IOMMU core does: devices and domains, who is attached to what, maps with strict and
// lazy invalidation, dirty flags, moves by the writers of package entry, what is left of a move that
// failed, what an earlier system has left, page requests.
//
// A driver embeds [Core] and gives it an [Arch]: what entries hold, how caches are told to forget, how
// tables look. Nothing here knows a register or a bit of an entry.
//
// # When hardware may have what
//
// A domain is stale from the moment that an entry with it may get into a cache, until no entry has it
// and the caches were told. Only a stale domain is invalidated, and only one that is not gives back its
// id and its tables. A move that failed half-way leaves a suspect: hardware may hold the entry
// as it was at any time of the move, so that both domains stay what they are until a later change of the
// same entry has dropped all of that.
package driver
