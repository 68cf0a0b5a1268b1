package qtest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeEnv makes this test binary play QEMU, badly.
const fakeEnv = "QTEST_FAKE_QEMU"

// parentEnv makes it start such a QEMU, tell its number, and wait.
const parentEnv = "QTEST_PARENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeEnv); how != "" {
		fake(how)
		os.Exit(0)
	}
	if how := os.Getenv(parentEnv); how != "" {
		parent(how)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func parent(how string) {
	self, err := os.Executable()
	if err == nil {
		err = os.Setenv(fakeEnv, how)
	}
	if err != nil {
		panic(err)
	}
	p, err := Start(Config{Binary: &Binary{Path: self}, Machine: &Q35, RAM: 1 << 20, Limit: forever})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.cmd.Process.Pid)
	_, err = p.Read(0, 4)
	panic(err)
}

const forever = time.Hour

// fake is a QEMU that does what how says, and otherwise answers 0 to everything.
func fake(how string) {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		switch how {
		case "version-nonsense":
			fmt.Println("hello")
		case "version-hang":
			time.Sleep(forever)
		case "version-fails":
			fmt.Fprintln(os.Stderr, "no such option")
			os.Exit(3)
		default:
			fmt.Println("QEMU emulator version 9.2.1 (Fake)")
		}
		return
	}
	qtest, qmp := os.NewFile(fdQtest, ""), os.NewFile(fdQMP, "")
	switch how {
	case "exit":
		fmt.Fprintln(os.Stderr, "unknown device 'edu'")
		os.Exit(1)
	case "mute":
		time.Sleep(forever)
	case "qmp-nonsense":
		fmt.Fprintln(qmp, "ahoy")
		time.Sleep(forever)
	case "qmp-no-greeting":
		fmt.Fprintln(qmp, `{"return": {}}`)
		time.Sleep(forever)
	}
	fmt.Fprintln(qmp, `{"QMP": {"version": {"qemu": {"micro": 1, "minor": 2, "major": 9}}}}`)
	go func() {
		for in := bufio.NewScanner(qmp); in.Scan(); {
			if strings.Contains(in.Text(), "system_reset") {
				switch how {
				case "reset-refused":
					fmt.Fprintln(qmp, `{"error": {"class": "GenericError", "desc": "not now"}}`)
					continue
				case "reset-hang":
					fmt.Fprintln(qmp, `{"return": {}}`)
					continue
				case "reset":
					fmt.Fprintln(qmp, `{"event": "STOP"}`)
					fmt.Fprintln(qmp, `{"event": "RESET"}`)
				}
			}
			fmt.Fprintln(qmp, `{"return": {}}`)
		}
	}()
	if how == "child" { // keeps the sockets and stderr open
		c := exec.Command("/bin/sleep", "3600")
		c.ExtraFiles, c.Stderr = []*os.File{qtest, qmp}, os.Stderr
		if err := c.Start(); err != nil {
			panic(err)
		}
	}
	in := bufio.NewScanner(qtest)
	for n := 0; in.Scan(); n++ {
		if n == 0 { // of the start
			fmt.Fprintln(qtest, "OK 0x0")
			continue
		}
		switch how {
		case "die":
			fmt.Fprintln(os.Stderr, strings.Repeat("chatter\n", 1000)+"assertion failed: ni")
			os.Exit(4)
		case "hang", "child":
			time.Sleep(forever)
		case "half":
			fmt.Fprint(qtest, "OK 0x")
			time.Sleep(forever)
		case "nonsense":
			fmt.Fprintln(qtest, "42")
		case "not-a-number":
			fmt.Fprintln(qtest, "OK maybe")
		case "endless":
			for {
				fmt.Fprint(qtest, "OK OK OK OK OK OK OK OK OK OK OK OK OK OK OK OK ")
			}
		case "refuse":
			fmt.Fprintln(qtest, "FAIL Unknown command 'x'")
		case "base64":
			fmt.Fprintln(qtest, "OK AAAA====!")
		default:
			fmt.Fprintln(qtest, "OK 0x0")
		}
	}
}

// pretend returns the binary that plays QEMU.
func pretend(t *testing.T, how string) *Binary {
	t.Setenv(fakeEnv, how)
	self, err := os.Executable()
	require.NoError(t, err)
	b, err := Open(self)
	require.NoError(t, err)
	return b
}

// limit is how long the fakes may take.
const limit = 300 * time.Millisecond

func startFake(t *testing.T, how string) (*Process, error) {
	return Start(Config{Binary: pretend(t, how), Machine: &Q35, RAM: 1 << 20, Limit: limit})
}

// leftovers returns what a QEMU could leave behind here: open files, files with names.
func leftovers(t *testing.T) (list []string) {
	for _, pattern := range []string{"/dev/shm/iommulab-*", filepath.Join(os.TempDir(), "iommulab-*"), "/proc/self/fd/*"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, f := range found {
			if to, err := os.Readlink(f); err != nil || !strings.HasPrefix(to, "anon_inode") { // the runtime's poller
				list = append(list, f)
			}
		}
	}
	return list
}

// gone requires that a process and its group have ended and are reaped.
func gone(t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.ended:
	default:
		t.Error("the process is not reaped")
	}
	require.NoDirExists(t, fmt.Sprintf("/proc/%d", p.cmd.Process.Pid))
	require.Eventually(t, func() bool { return len(group(t, p.cmd.Process.Pid)) == 0 }, 5*time.Second, 10*time.Millisecond)
}

// group returns the living members of a process group.
func group(t *testing.T, id int) (pids []string) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	require.NotEmpty(t, stats)
	for _, s := range stats {
		text, err := os.ReadFile(s)
		if err != nil {
			continue // gone meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ") // pid (name) state ppid pgrp
		f := strings.Fields(rest)
		if f[2] == strconv.Itoa(id) && f[0] != "Z" {
			pids = append(pids, s)
		}
	}
	return pids
}
