package main

import "os"

func Example() {
	if err := run(os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// 1 store(s): 204 states, 6 outcomes, 0 neither old nor new, 0 torn, 0 stale
	// 2 store(s): 343 states, 12 outcomes, 6 neither old nor new, 2 torn, 0 stale
	//                                               unit fetch 0x100002000/16 = 0x100008001 0x0 (root entry, 9.1)
	// host 1   low half: store8 0x100008100 = 0x100003001
	//                                               unit fetch 0x100008100/16 = 0x100003001 0x303 (context entry, 9.3)
	//                                               unit cache 2 holds 0x100303 0x0 0x300030000100009 0x10000d020 (IOTLB look-up, 6.2.4)
	// host 2   high half: store8 0x100008108 = 0x203
	// host 3   context cache, device: invalidate and wait
	// host 4   IOTLB, old domain: invalidate and wait
	// the request ends at pa 0x100000
}
