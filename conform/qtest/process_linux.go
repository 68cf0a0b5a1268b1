package qtest

import (
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
)

// socketPair returns both ends of a nameless stream socket: ours, and the one to give away.
func socketPair() (net.Conn, *os.File, error) {
	fd, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fd[0]), "qemu"), os.NewFile(uintptr(fd[1]), "qemu")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// mapShared returns the n bytes of f as memory.
func mapShared(f *os.File, n int) ([]byte, error) {
	p, err := syscall.Mmap(int(f.Fd()), 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return p, os.NewSyscallError("mmap", err)
}

func unmap(p []byte) { _ = syscall.Munmap(p) } // cannot fail for what mapShared gave

// punch gives back the blocks of a part of f, which keeps its size.
func punch(f *os.File, from, n int64) {
	const keepSize, punchHole = 1, 2
	_ = syscall.Fallocate(int(f.Fd()), keepSize|punchHole, from, n) // without it the file just stays
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// launch starts the process in a group of its own, which dies with us, and waits for its end in the
// background. The kernel ties the death to the thread that started it, so that one waits.
func (p *Process) launch() error {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // its exit status is in ProcessState
			close(p.ended)
		}
	}()
	return <-started
}

// kill ends the process, with whatever it has started itself, and returns once it is reaped.
func (p *Process) kill() {
	if p.cmd == nil {
		return
	}
	select {
	case <-p.ended:
		return // its number may be another's by now
	default:
	}
	if p.cmd.Process.Signal(syscall.SIGKILL) == nil {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-p.ended
}
