package vtd

// FaultCodes returns every reason that the unit knows, for tests.
func FaultCodes() []uint16 {
	codes := make([]uint16, 0, len(faults))
	for c := range faults {
		codes = append(codes, c)
	}
	return codes
}

// FaultFacts tells of a reason whether FPD suppresses it, and whether a translation request ends without
// rights or as Unsupported Request.
func FaultFacts(c uint16) (qualified, bare, refused bool) {
	f := faults[c]
	return f.qualified, f.recoverable, unsupported[c]
}
