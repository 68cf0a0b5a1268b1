package qtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Env names the environment variable that names the QEMU to use: a folder with programs named as QEMU
// names them, or the one for x86_64, with others beside it.
const Env = "IOMMULAB_QEMU"

// Version is a release of QEMU.
type Version struct{ Major, Minor, Micro int }

// String returns the version with dots.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// Less reports whether v is older than w.
func (v Version) Less(w Version) bool {
	if v.Major != w.Major {
		return v.Major < w.Major
	}
	if v.Minor != w.Minor {
		return v.Minor < w.Minor
	}
	return v.Micro < w.Micro
}

// Binary is a QEMU that can be started.
type Binary struct {
	Path    string
	Version Version

	mu      sync.Mutex
	helps   map[string]string
	noAccel bool
}

// Find returns the QEMU for a system ("x86_64", "aarch64"): what Env names; else the one that .ci/qemu
// has installed; else that of PATH.
//
// Errors: ErrNoQEMU, with what was looked at; those of Open.
func Find(system string) (*Binary, error) {
	name := "qemu-system-" + system
	if v := os.Getenv(Env); v != "" {
		if st, err := os.Stat(v); err == nil && st.IsDir() {
			v = filepath.Join(v, name)
		} else if system != Q35.System {
			v = filepath.Join(filepath.Dir(v), name)
		}
		return Open(v)
	}
	var seen []string
	if dir, err := os.UserCacheDir(); err == nil {
		path := filepath.Join(dir, "iommulab", "qemu", "bin", name)
		if _, err := os.Stat(path); err == nil {
			return Open(path)
		}
		seen = append(seen, path)
	}
	if path, err := exec.LookPath(name); err == nil {
		return Open(path)
	}
	seen = append(seen, name+" in PATH")
	return nil, &Error{
		Op: "find", Err: ErrNoQEMU,
		Detail: strings.Join(seen, ", ") + "; make qemu installs one, " + Env + " names one",
	}
}

// askLimit is how long a QEMU may take to tell about itself.
const askLimit = 10 * time.Second

var versionText = regexp.MustCompile(`QEMU emulator version (\d+)\.(\d+)\.(\d+)`)

// Open asks the QEMU at path for its version.
//
// Errors: ErrNoQEMU, ErrTimeout, ErrProtocol.
func Open(path string) (*Binary, error) {
	b := &Binary{Path: path, helps: make(map[string]string)}
	out, err := b.ask("--version")
	if err != nil {
		return nil, err
	}
	m := versionText.FindStringSubmatch(out)
	if m == nil {
		return nil, &Error{Op: path + " --version", Err: ErrProtocol, Detail: clip(out)}
	}
	for i, p := range []*int{&b.Version.Major, &b.Version.Minor, &b.Version.Micro} {
		*p, _ = strconv.Atoi(m[i+1])
	}
	return b, nil
}

// ask runs QEMU with arguments that make it print something and end.
func (b *Binary) ask(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.Path, args...)
	cmd.WaitDelay = time.Second
	var stderr tail
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return string(out), nil
	}
	e := &Error{Op: b.Path + " " + strings.Join(args, " "), Err: ErrProtocol, Detail: err.Error(), Stderr: stderr.String()}
	switch {
	case ctx.Err() != nil:
		e.Err = ErrTimeout
	case cmd.Process == nil:
		e.Err = ErrNoQEMU
	}
	return "", e
}

// help returns what QEMU tells about an option, once asked.
func (b *Binary) help(args ...string) (string, error) {
	key := strings.Join(args, " ")
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.helps[key]; ok {
		return s, nil
	}
	s, err := b.ask(args...)
	if err == nil {
		b.helps[key] = s
	}
	return s, err
}

// HasDevice reports whether QEMU has a device.
func (b *Binary) HasDevice(device string) (bool, error) {
	s, err := b.help("-device", "help")
	return strings.Contains(s, `name "`+device+`"`), err
}

// Property returns the first of names that is a property of a device, for their names change with the
// release, or "" if none is.
func (b *Binary) Property(device string, names ...string) (string, error) {
	s, err := b.help("-device", device+",help")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		for line := range strings.Lines(s) {
			if strings.HasPrefix(strings.TrimSpace(line), n+"=") {
				return n, nil
			}
		}
	}
	return "", nil
}

// invalidMask is the name of the log of accesses that nothing answers: release 8.0 gave it its own.
func (b *Binary) invalidMask() string {
	if b.Version.Less(Version{8, 0, 0}) {
		return "guest_errors"
	}
	return "invalid_mem"
}
