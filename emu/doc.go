// Package emu is the contract between IOMMU models and the executors that drive them.
//
// A [Unit] is one IOMMU at register level. Everything it does that takes time, reads or writes
// memory, or looks into a cache is a [Txn]: plain data that asks one question at a time in its
// [Act] and is resumed with the answer in In. A transaction never touches memory or a cache
// itself; an executor does that for it:
//
//	functional   answers at once, one transaction after the other (type [Functional], here)
//	timed        answers when the modelled memory, slot or port would (package emu/timing)
//	exhaustive   answers in every legal order against the host's stores (package hitless)
//
// so one description of an architecture serves all three. The life of a transaction is
//
//	if !u.Lookup(&req, &res) {        // the fused path of a hit
//		u.Start(&txn, &req)           // sets the unit's program counter, asks nothing
//		for {
//			u.Step(&txn)              // consumes txn.In and txn.Ans, leaves txn.Act
//			...answer txn.Act...      // until txn.Act.Op == OpDone
//		}
//	}
//
// The package knows no architecture. Registers, structures and their meaning are in the units.
package emu
