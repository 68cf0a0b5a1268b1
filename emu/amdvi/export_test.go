package amdvi

// FaultCodes returns every fault that the unit knows, for tests.
func FaultCodes() []uint16 {
	codes := make([]uint16, 0, len(faults))
	for c := range faults {
		codes = append(codes, c)
	}
	return codes
}
