// Package qemutest gives tests a QEMU, or skips them where there is none.
package qemutest

import (
	"errors"
	"os"
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
	switch {
	case errors.Is(err, qtest.ErrNoQEMU) && os.Getenv(RequireEnv) == "":
		t.Skipf("skipped: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	return b
}

// VTD starts a QEMU with a VT-d unit that ends with the test, or ends the test.
func VTD(t testing.TB, o qemu.Options) *qemu.VTD {
	t.Helper()
	if o.Binary == nil {
		o.Binary = Binary(t, "x86_64")
	}
	v, err := qemu.Open(o)
	switch {
	case errors.Is(err, qtest.ErrUnsupported) && !required(o.Mode.String()):
		t.Skipf("skipped: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func required(mode string) bool {
	for m := range strings.SplitSeq(os.Getenv(RequireEnv), ",") {
		if m == "1" || m == mode {
			return true
		}
	}
	return false
}
