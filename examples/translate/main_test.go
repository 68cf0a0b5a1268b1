package main

import "os"

func Example() {
	if err := run(os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// 0x10040 R: pa 0x80000040, rights RW
	// 0x1f000 W: pa 0x8000f000, rights RW
	// 0x20000 R: pa 0x90000000, rights R
	// 0x20000 W: fault 0x85, SGN.6 write without permission
	// 0x30000 R: fault 0x79, SSS.2 second-stage entry not present
	// IOTLB: 5 look-ups, 1 hits
}
