// Package qtest runs QEMU as a machine without firmware and without a running processor, and does what
// a processor would do from outside: memory and port accesses, PCI configuration, time. It speaks QEMU's
// qtest protocol.
//
//	bin, err := qtest.Find("x86_64")
//	p, err := qtest.Start(qtest.Config{Binary: bin, Machine: &qtest.Q35, RAM: 8 << 20, Args: []string{"-device", "edu,addr=3"}})
//	defer p.Close()
//	v, err := p.Read(0xfed9_0000, 4)
//
// Nothing here waits without limit. A QEMU that is missing, too old, dies, hangs or talks nonsense gives
// an [Error] that says which, with the end of what QEMU wrote to stderr. After an error the process is
// killed and reaped, and every later call gives the same error. QEMU and its memory leave nothing behind
// in the file system: its sockets have no names, its files lose theirs before it starts.
package qtest
