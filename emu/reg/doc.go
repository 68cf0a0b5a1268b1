// Package reg holds what all register-level models share: bit fields, structure layouts and
// register files, each written as data. It knows no architecture.
//
//   - [Bits] is a bit range as a constant: cheap enough for the hottest path.
//   - [Field] and [Layout] describe a structure for people and tools.
//   - [Reg] and [File] are a register window: what each register resets to, which bits software
//     may write or clear, what a write sets off, and which access widths exist.
package reg
