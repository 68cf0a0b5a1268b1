// Package report is what runs leave behind: result documents with a stable schema, the manifest that
// tells how they were made, files that appear whole or not at all, and the comparison of two results.
//
// A document is one JSON object whose first member is its schema. Fields are only ever added. Every
// time that was measured on the real machine is under the member wall; two runs of the same inputs,
// configuration and seed are byte-identical after wall is deleted. Simulated times end in _cycles or
// _sim_ns.
package report
