package qtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStart_FailsQuicklyAndLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		how    string
		want   error
		detail string
	}{
		{"exit", ErrDied, "unknown device 'edu'"},
		{"mute", ErrTimeout, ""},
		{"qmp-nonsense", ErrProtocol, "ahoy"},
		{"qmp-no-greeting", ErrProtocol, "no greeting"},
	} {
		t.Run(c.how, func(t *testing.T) {
			b := pretend(t, c.how)
			before := leftovers(t)
			begin := time.Now()
			_, err := Start(Config{Binary: b, Machine: &Q35, RAM: 1 << 20, Limit: limit})
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.detail)
			require.Less(t, time.Since(begin), 10*limit)
			require.Equal(t, before, leftovers(t))
		})
	}
}

func TestProcess_FailsQuicklyAndStaysSo(t *testing.T) {
	for _, c := range []struct {
		how    string
		want   error
		detail string
	}{
		{"die", ErrDied, "assertion failed: ni"},
		{"hang", ErrTimeout, "readq 0x1234"},
		{"half", ErrTimeout, "OK 0x"},
		{"child", ErrTimeout, ""},
		{"nonsense", ErrProtocol, "42"},
		{"not-a-number", ErrProtocol, "maybe"},
		{"endless", ErrProtocol, "OK OK"},
		{"refuse", ErrRefused, "Unknown command"},
	} {
		t.Run(c.how, func(t *testing.T) {
			before := leftovers(t)
			p, err := startFake(t, c.how)
			require.NoError(t, err)
			require.Equal(t, Version{9, 2, 1}, p.Version)
			begin := time.Now()
			_, err = p.Read(0x1234, 8)
			require.ErrorIs(t, err, c.want)
			require.ErrorContains(t, err, c.detail)
			require.Less(t, time.Since(begin), 10*limit)
			gone(t, p)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.LessOrEqual(t, len(e.Stderr), tailBytes)

			for name, again := range map[string]error{
				"Write": p.Write(0, 4, 0), "Step": p.Step(1), "ReadAt": p.ReadAt(0, make([]byte, 4)),
				"WriteAt": p.WriteAt(0, make([]byte, 4)), "Reset": p.Reset(), "Log": p.Log(func([]byte) {}), "Err": p.Err(),
			} {
				require.Equal(t, err, again, name)
			}
			require.NoError(t, p.Close())
			require.NoError(t, p.Close())
			require.Equal(t, before, leftovers(t))
		})
	}
}

func TestProcess_Reset(t *testing.T) {
	for how, want := range map[string]error{"reset": nil, "reset-refused": ErrRefused, "reset-hang": ErrTimeout} {
		t.Run(how, func(t *testing.T) {
			p, err := startFake(t, how)
			require.NoError(t, err)
			defer p.Close()
			err = p.Reset()
			if want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, want)
			gone(t, p)
		})
	}
}

func TestProcess_ReadAtChecksWhatItGets(t *testing.T) {
	p, err := startFake(t, "base64")
	require.NoError(t, err)
	defer p.Close()
	require.ErrorIs(t, p.ReadAt(0, make([]byte, 4)), ErrProtocol)
	gone(t, p)
}

func TestProcess_CloseFromOutsideEndsACall(t *testing.T) {
	b := pretend(t, "hang")
	p, err := Start(Config{Binary: b, Machine: &Q35, RAM: 1 << 20, Limit: time.Minute})
	require.NoError(t, err)
	got := make(chan error)
	go func() {
		_, err := p.Read(0, 4)
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, p.Close())
	require.ErrorIs(t, <-got, ErrClosed)
	require.ErrorIs(t, p.LoadRAM(0, make([]byte, 1)), ErrClosed)
	require.ErrorIs(t, p.StoreRAM(0, make([]byte, 1)), ErrClosed)
	require.ErrorIs(t, p.ClearRAM(), ErrClosed)
	gone(t, p)
}

// A QEMU does not outlive who started it, whatever the end.
func TestProcess_DiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parentEnv+"=hang")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	_, err = fmt.Fscan(out, &pid)
	require.NoError(t, err)
	require.NotEmpty(t, group(t, pid))
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return len(group(t, pid)) == 0 }, 5*time.Second, 5*time.Millisecond)
}

func TestProcess_RAMHasBounds(t *testing.T) {
	p, err := startFake(t, "well")
	require.NoError(t, err)
	defer p.Close()
	require.NoError(t, p.StoreRAM(1<<20-4, []byte{1, 2, 3, 4}))
	b := make([]byte, 4)
	require.NoError(t, p.LoadRAM(1<<20-4, b))
	require.Equal(t, []byte{1, 2, 3, 4}, b)
	for _, off := range []uint64{1<<20 - 3, 1 << 20, 1 << 40, ^uint64(0), ^uint64(0) - 3} {
		require.ErrorContains(t, p.LoadRAM(off, b), "beyond")
		require.ErrorContains(t, p.StoreRAM(off, b), "beyond")
	}
	require.NoError(t, p.Err(), "a mistake of the user, not of QEMU")
	require.NoError(t, p.ClearRAM())
	require.NoError(t, p.LoadRAM(1<<20-4, b))
	require.Equal(t, make([]byte, 4), b)
}

func TestOpen_TellsWhatIsWrong(t *testing.T) {
	_, err := Open("/nonexistent/qemu-system-x86_64")
	require.ErrorIs(t, err, ErrNoQEMU)
	self, err := os.Executable()
	require.NoError(t, err)
	for how, want := range map[string]error{"version-nonsense": ErrProtocol, "version-fails": ErrProtocol} {
		t.Setenv(fakeEnv, how)
		_, err := Open(self)
		require.ErrorIs(t, err, want, how)
	}
	_, err = Start(Config{Binary: &Binary{Path: "/nonexistent/qemu"}, Machine: &Q35, RAM: 1 << 20})
	require.ErrorIs(t, err, ErrNoQEMU)
}

func TestFind_LooksInOrder(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	t.Setenv(fakeEnv, "well")
	dir := t.TempDir()
	put := func(path string) string {
		path = filepath.Join(dir, path, "qemu-system-x86_64")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.Symlink(self, path))
		return path
	}
	t.Setenv(Env, "")
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	t.Setenv("PATH", filepath.Join(dir, "path"))

	_, err = Find("x86_64")
	require.ErrorIs(t, err, ErrNoQEMU)
	require.ErrorContains(t, err, Env)
	var last *Binary
	for _, where := range []string{"path", "cache/iommulab/qemu/bin"} { // the later the better
		want := put(where)
		last, err = Find("x86_64")
		require.NoError(t, err)
		require.Equal(t, want, last.Path)
	}
	require.Equal(t, Version{9, 2, 1}, last.Version)

	want := put("env")
	for _, v := range []string{want, filepath.Dir(want)} {
		t.Setenv(Env, v)
		last, err = Find("x86_64")
		require.NoError(t, err)
		require.Equal(t, want, last.Path)
	}
	t.Setenv(Env, want)
	_, err = Find("aarch64")
	require.ErrorIs(t, err, ErrNoQEMU, "that is for another system")
	t.Setenv(Env, filepath.Join(dir, "nothing"))
	_, err = Find("x86_64")
	require.ErrorIs(t, err, ErrNoQEMU, "what was named is not replaced by something else")
}

func TestVersion_Less(t *testing.T) {
	order := []Version{{7, 2, 22}, {8, 0, 0}, {10, 0, 13}, {10, 1, 0}, {11, 1, 3}}
	for i := range order {
		for j := range order {
			require.Equal(t, i < j, order[i].Less(order[j]), "%v < %v", order[i], order[j])
		}
	}
}
