package vtd

// FaultCodes returns every reason that the unit knows, for tests.
func FaultCodes() []uint16 {
	codes := make([]uint16, 0, len(faults))
	for c := range faults {
		codes = append(codes, c)
	}
	return codes
}
