//go:build !linux

package qtest

import (
	"errors"
	"net"
	"os"
)

var errLinux = errors.New("QEMU is driven on Linux only")

func socketPair() (net.Conn, *os.File, error) { return nil, nil, errLinux }

func mapShared(*os.File, int) ([]byte, error) { return nil, errLinux }

func unmap([]byte) {}

func punch(*os.File, int64, int64) {}

func isReset(error) bool { return false }

func (p *Process) launch() error { return errLinux }

func (p *Process) kill() {}
