package smmuv3

// FaultCodes returns every fault that the unit knows, for tests.
func FaultCodes() []uint16 {
	var codes []uint16
	for c := range faultNames {
		codes = append(codes, c)
	}
	return codes
}
