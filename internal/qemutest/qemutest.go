// Package qemutest gives tests a QEMU, or skips them where there is none.
package qemutest

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/iommulab/iommulab/conform/qemu"
	"github.com/iommulab/iommulab/conform/qtest"
)

// RequireEnv names the environment variable under which tests fail where they would skip: "1" for all
// tests, or a list of modes for those of a QEMU that has no others.
const RequireEnv = "IOMMULAB_REQUIRE_QEMU"

// Binary returns the QEMU for a system ("x86_64"), or ends the test.
func Binary(t testing.TB, system string) *qtest.Binary {
	t.Helper()
	b, err := qtest.Find(system)
	Need(t, err, system)
	return b
}

// Peer starts a QEMU with a unit that ends with the test, or ends the test.
func Peer(t testing.TB, o qemu.Options) *qemu.Peer {
	t.Helper()
	if o.Binary == nil {
		o.Binary = Binary(t, o.Mode.System())
	}
	v, err := qemu.Open(o)
	Need(t, err, o.Mode.String())
	t.Cleanup(func() { v.Close() })
	return v
}

// Need ends the test if there is an error: it skips if there is no QEMU or none that can do what is
// needed, and this is not required; it fails otherwise.
func Need(t testing.TB, err error, what string) {
	t.Helper()
	required := os.Getenv(RequireEnv)
	switch {
	case err == nil:
	case errors.Is(err, qtest.ErrNoQEMU) && required == "",
		errors.Is(err, qtest.ErrUnsupported) && required != "1" && !slices.Contains(strings.Split(required, ","), what):
		t.Skipf("skipped: %v", err)
	default:
		t.Fatal(err)
	}
}
