package qtest

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// logFile is what QEMU logs.
type logFile struct {
	f     *os.File
	read  int64 // bytes that were read
	freed int64 // bytes that were given back
	rest  []byte
}

// logKeep is how much of what was read may stay.
const logKeep = 1 << 20

// open opens the log by the descriptor of the file, which has no name any more.
func (l *logFile) open(f *os.File) (err error) {
	l.f, err = os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0)
	return err
}

func (l *logFile) close() {
	if l.f != nil {
		l.f.Close()
	}
}

// lines calls line for each whole line since the last call.
func (l *logFile) lines(line func([]byte)) error {
	for {
		have := len(l.rest)
		if cap(l.rest)-have < 4096 {
			l.rest = append(make([]byte, 0, 2*cap(l.rest)+8192), l.rest...)
		}
		n, err := l.f.ReadAt(l.rest[have:cap(l.rest)], l.read)
		if err != nil && err != io.EOF {
			return err
		}
		l.rest = l.rest[:have+n]
		l.read += int64(n)
		done := 0
		for {
			i := bytes.IndexByte(l.rest[done:], '\n')
			if i < 0 {
				break
			}
			line(l.rest[done : done+i])
			done += i + 1
		}
		l.rest = l.rest[:copy(l.rest, l.rest[done:])]
		if err == io.EOF {
			break
		}
	}
	if l.read-l.freed > logKeep {
		punch(l.f, l.freed, l.read-l.freed)
		l.freed = l.read
	}
	return nil
}

// Log calls line for each line that QEMU has logged since the last call. What a command logs is there
// when the command is answered. The line is valid until line returns.
//
// Errors: an Error.
func (p *Process) Log(line func([]byte)) error {
	if err := p.Err(); err != nil {
		return err
	}
	if err := p.log.lines(line); err != nil {
		return p.fail("log", err, "")
	}
	return nil
}
