package qtest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// Config says what to start.
type Config struct {
	Binary  *Binary
	Machine *Machine
	RAM     int      // bytes
	Args    []string // devices and all else
	// Events are the trace events that the log shall have, besides accesses that nothing answers.
	Events []string
	// Limit is how long QEMU may take for what it is given at once; 0 is 10 s.
	Limit time.Duration
}

// Process is a QEMU that runs. The Client in it talks to its machine.
type Process struct {
	*Client
	// Version is what this QEMU says it is.
	Version Version
	// Jumps: time cannot be stepped. It jumps to the next timer whenever nothing else is to be done.
	Jumps bool

	ram     memory
	monitor *monitor
	log     logFile

	cmd    *exec.Cmd
	stderr tail
	ended  chan struct{} // closed once the process is reaped
	once   sync.Once
}

// files are what a process is given: its ends of two sockets, its memory and its log, as descriptors
// from 3 on.
type files struct {
	qtest, qmp, ram, log, rom *os.File
}

const (
	fdQtest = 3 + iota
	fdQMP
	fdRAM
	fdLog
	fdROM
)

func (f *files) list() []*os.File { return []*os.File{f.qtest, f.qmp, f.ram, f.log, f.rom} }

func (f *files) close() {
	for _, x := range f.list() {
		if x != nil {
			x.Close()
		}
	}
}

// Start starts a QEMU and returns when it answers.
//
// Errors: an Error.
func Start(c Config) (*Process, error) {
	if c.Limit == 0 {
		c.Limit = 10 * time.Second
	}
	p, err := start(c)
	if !c.Binary.lacksAccelerator(err) {
		return p, err
	}
	if c.Machine.Halt == nil {
		return nil, &Error{Op: "start", Err: ErrUnsupported, Detail: "accelerator qtest"}
	}
	return start(c)
}

func start(c Config) (*Process, error) {
	p := &Process{ended: make(chan struct{})}
	var theirs files
	defer theirs.close()
	if err := p.prepare(c, &theirs); err != nil {
		p.Close()
		return nil, &Error{Op: "prepare", Err: err}
	}
	accel, jumps := c.Binary.accelerator()
	p.Jumps = jumps
	p.cmd = exec.Command(c.Binary.Path, append(accel, arguments(c)...)...)
	p.cmd.ExtraFiles = theirs.list()
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = time.Second
	if err := p.launch(); err != nil {
		p.cmd = nil
		p.Close()
		return nil, &Error{Op: "start " + c.Binary.Path, Err: ErrNoQEMU, Detail: err.Error()}
	}
	theirs.close() // so that its death is an end of file here
	if err := p.greet(c.Machine); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// prepare makes sockets and files: ours in p, theirs for the process.
func (p *Process) prepare(c Config, theirs *files) (err error) {
	var conn net.Conn
	if conn, theirs.qtest, err = socketPair(); err != nil {
		return err
	}
	p.Client = NewClient(conn, c.Limit)
	p.Client.failed = p.explain
	if conn, theirs.qmp, err = socketPair(); err != nil {
		return err
	}
	p.monitor = &monitor{conn: conn, r: bufio.NewReaderSize(conn, 1<<16), limit: c.Limit}
	if theirs.ram, err = nameless("ram"); err != nil {
		return err
	}
	if err = theirs.ram.Truncate(int64(c.RAM)); err != nil {
		return err
	}
	if err = p.ram.open(theirs.ram, c.RAM); err != nil {
		return err
	}
	if theirs.log, err = nameless("log"); err != nil {
		return err
	}
	if err = p.log.open(theirs.log); err != nil {
		return err
	}
	if theirs.rom, err = nameless("rom"); err != nil {
		return err
	}
	_, err = theirs.rom.Write(c.Machine.Halt)
	return err
}

// nameless returns a file that goes when the last user does, in memory if there is a place for that.
func nameless(what string) (*os.File, error) {
	f, err := os.CreateTemp("/dev/shm", "iommulab-"+what+"-*")
	if err != nil {
		f, err = os.CreateTemp("", "iommulab-"+what+"-*")
	}
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// self names a file that the process was given.
func self(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func arguments(c Config) []string {
	args := []string{
		"-display", "none", "-nodefaults", "-no-user-config",
		"-machine", c.Machine.Type + ",memory-backend=ram",
		"-m", fmt.Sprintf("%dk", c.RAM>>10),
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%d,mem-path=%s,share=on", c.RAM, self(fdRAM)),
		"-chardev", fmt.Sprintf("socket,id=qtest,fd=%d", fdQtest), "-qtest", "chardev:qtest",
		"-qtest-log", os.DevNull,
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", fdQMP), "-qmp", "chardev:qmp",
		"-D", self(fdLog), "-d", c.Binary.invalidMask(),
	}
	for _, e := range c.Events {
		args = append(args, "-trace", e)
	}
	return append(args, c.Args...)
}

// greet waits for the first answers.
func (p *Process) greet(m *Machine) error {
	if err := p.monitor.greet(); err != nil {
		return p.fail("start", err, "")
	}
	p.Version = p.monitor.version
	_, err := p.Read(m.RAM, 1)
	return err
}

// Reset resets the whole machine, devices and IOMMU. PCI has to be enumerated again; RAM stays as it is.
func (p *Process) Reset() error {
	if err := p.Err(); err != nil {
		return err
	}
	if err := p.monitor.execute("system_reset", "RESET"); err != nil {
		return p.fail("system_reset", err, "")
	}
	return nil
}

// explain completes the error that ends the client: the process ends too, and with it what it writes.
func (p *Process) explain(e *Error) {
	if e.Err == ErrDied && p.cmd != nil {
		select { // it may still be writing why
		case <-p.ended:
			if s := p.cmd.ProcessState; s != nil && e.Detail == "" {
				e.Detail = s.String()
			}
		case <-time.After(2 * time.Second):
		}
	}
	p.kill()
	e.Stderr = p.stderr.String()
}

// Close ends the process and gives back everything. It may be called from another goroutine, and again.
func (p *Process) Close() error {
	p.once.Do(func() {
		if p.Client != nil {
			p.Client.Close()
		}
		p.kill()
		if p.monitor != nil {
			p.monitor.conn.Close()
		}
		p.ram.close()
		p.log.close()
	})
	return nil
}
