package cli

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// decoded runs decode over words and returns its text with single blanks.
func decoded(t *testing.T, iommu, kind string, words ...uint64) string {
	var raw []byte
	for _, w := range words {
		raw = binary.LittleEndian.AppendUint64(raw, w)
	}
	if kind == "irte32" {
		raw = raw[:4]
	}
	code, out, errs := run(context.Background(), "", "decode", "--iommu", iommu, "--kind", kind, hex.EncodeToString(raw))
	require.Equal(t, exitOK, code, errs)
	return regexp.MustCompile(` +`).ReplaceAllString(out, " ")
}

// One value in each field that tells it from its neighbours, and what is told of it.
func TestDecodeAMDVi(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		words []uint64
		want  []string
	}{
		"DTE with a guest table": {"dte", []uint64{3 | 1<<55 | 1<<56 | 5<<58, 9 | 0x8001<<16 | 1<<43, 1 << 54, 0},
			[]string{"DTE {", "GLX 57:56 = 0x1", "GCR3Root = 0xc000d000 /* GCR3 table, of GCR3Lo, GCR3Mid, GCR3Hi */", "GuestPagingMode 183:182 = 0x1"}},
		"DTE, reserved bits": {"dte", []uint64{1<<63 | 4, 0, 0, 1 << 53},
			[]string{"other bits set: 0x8000000000000004 0x0000000000000000 0x0000000000000000 0x0020000000000000"}},
		"GCR3 table entry": {"gcr3", []uint64{0x3953001}, []string{"GCR3 table entry {", "Addr 51:12 = 0x3953 /* 0x3953000 next table or guest CR3 */"}},
		"host PDE":         {"v1-pte", []uint64{1 | 3<<9 | 0x5000 | 3<<61}, []string{"host PDE {", "NextLevel 11:9 = 0x3", "0x5000 table"}},
		"host PTE":         {"v1-pte", []uint64{1 | 0x5000 | 1<<60}, []string{"host PTE {", "FC 60 = 0x1", "0x5000 page"}},
		"host PTE with its size": {"v1-pte", []uint64{1 | 7<<9 | 0x9ae2000},
			[]string{"host PTE {", "/* page of 0x2000 bytes at 0x9ae2000 */"}},
		"host PTE, 4 MiB":                {"v1-pte", []uint64{1 | 7<<9 | 0x8001ff000}, []string{"/* page of 0x400000 bytes at 0x800000000 */"}},
		"host PTE, no size":              {"v1-pte", []uint64{1 | 7<<9 | 0xf_ffff_ffff_f000}, []string{"/* the address encodes no page size */"}},
		"guest paging entry":             {"v2-pte", []uint64{1<<63 | 0x5067}, []string{"guest paging entry {", "NX 63 = 0x1", "D 6 = 0x1", "0x5000 table or page"}},
		"interrupt entry of 32 bits":     {"irte32", []uint64{0x21_3f45}, []string{"IRTE (32 bits) {", "4 bytes", "DM 6 = 0x1", "Dest 15:8 = 0x3f", "Vector 23:16 = 0x21"}},
		"interrupt entry of 128 bits":    {"irte128", []uint64{1 | 0x123456<<8, 0x31 | 0xab<<56}, []string{"IRTE (128 bits) {", "Vector 71:64 = 0x31", "Dest = 0xab123456 "}},
		"interrupt entry in guest mode":  {"irte128", []uint64{1 | 1<<7 | 0x77<<32, 0x32 | 0x9000}, []string{"IRTE (guest mode) {", "GATag 63:32 = 0x77", "0x9000 virtual APIC page"}},
		"COMPLETION_WAIT":                {"command", []uint64{1<<60 | 0x2687000 | 5, 0x3562}, []string{"COMPLETION_WAIT {", "F 2 = 0x1", "0x2687000 address", "StoreData 127:64 = 0x3562"}},
		"INVALIDATE_DEVTAB_ENTRY":        {"command", []uint64{2<<60 | 0x408, 0}, []string{"INVALIDATE_DEVTAB_ENTRY {", "DeviceID 15:0 = 0x408"}},
		"INVALIDATE_IOMMU_PAGES":         {"command", []uint64{3<<60 | 16<<32, 0xfff3b000 | 2}, []string{"INVALIDATE_IOMMU_PAGES {", "DomainID 47:32 = 0x10", "PDE 65 = 0x1", "/* addresses 0xfff3b000 to 0xfff3bfff */"}},
		"INVALIDATE_IOMMU_PAGES, 16 KiB": {"command", []uint64{3 << 60, 0x5000 | 1}, []string{"/* addresses 0x4000 to 0x7fff */"}},
		"INVALIDATE_IOMMU_PAGES, all":    {"command", []uint64{3 << 60, 0x7fff_ffff_ffff_f001}, []string{"/* all addresses */"}},
		"INVALIDATE_IOTLB_PAGES": {"command", []uint64{4<<60 | 0xa<<56 | 0xcd<<48 | 0x20<<32 | 0x8<<24 | 0xb4<<16 | 0x100, 0x7000 | 1<<2},
			[]string{"INVALIDATE_IOTLB_PAGES {", "MaxPend 31:24 = 0x8", "PASID = 0xab4cd ", "/* addresses 0x7000 to 0x7fff */"}},
		"INVALIDATE_INTERRUPT_TABLE": {"command", []uint64{5<<60 | 0x10, 0}, []string{"INVALIDATE_INTERRUPT_TABLE {"}},
		"PREFETCH_IOMMU_PAGES":       {"command", []uint64{6<<60 | 3<<24 | 0x10, 0x1000 | 1<<4}, []string{"PREFETCH_IOMMU_PAGES {", "PFcount 31:24 = 0x3", "Inval 68 = 0x1"}},
		"COMPLETE_PPR_REQUEST":       {"command", []uint64{7<<60 | 5<<32 | 0x10, 1<<2 | 0x1_1ff<<32}, []string{"COMPLETE_PPR_REQUEST {", "PASID 51:32 = 0x5", "CompletionTag 104:96 = 0x1ff", "Status 111:108 = 0x1"}},
		"INVALIDATE_IOMMU_ALL":       {"command", []uint64{8 << 60, 0}, []string{"INVALIDATE_IOMMU_ALL {"}},
		"INSERT_GUEST_EVENT":         {"command", []uint64{9<<60 | 7<<32, 0}, []string{"INSERT_GUEST_EVENT {", "GuestID 47:32 = 0x7"}},
		"RESET_VMMIO":                {"command", []uint64{0xa<<60 | 1<<31 | 7, 0}, []string{"RESET_VMMIO {", "vCmd 31 = 0x1"}},
		"no command":                 {"command", []uint64{0xb << 60, 1}, []string{"command of unknown opcode 0xb {", "other bits set: 0x0000000000000000 0x0000000000000001"}},
		"ILLEGAL_DEV_TABLE_ENTRY":    {"event", []uint64{1<<60 | 1<<55 | 0x10, 0xdead_0000}, []string{"ILLEGAL_DEV_TABLE_ENTRY {", "RZ 55 = 0x1", "0xdead0000 address"}},
		// Logged on a server as: IO_PAGE_FAULT domain=0x000e address=0xcafe0000 flags=0x0070.
		"IO_PAGE_FAULT":            {"event", []uint64{2<<60 | 0x070<<48 | 0xe<<32 | 0x4100, 0xcafe0000}, []string{"IO_PAGE_FAULT {", "DeviceID 15:0 = 0x4100", "DomainID 47:32 = 0xe", "PR 52 = 0x1", "RW 53 = 0x1", "PE 54 = 0x1", "Address 127:64 = 0xcafe0000"}},
		"IO_PAGE_FAULT of a PASID": {"event", []uint64{2<<60 | 1<<48 | 0x2345<<32 | 1<<16 | 0x10, 0x1000}, []string{"GN 48 = 0x1", "PASID = 0x12345 "}},
		"DEV_TAB_HARDWARE_ERROR":   {"event", []uint64{3<<60 | 2<<57 | 0x10, 0x26a0200}, []string{"DEV_TAB_HARDWARE_ERROR {", "Type 58:57 = 0x2", "0x26a0200 DTE"}},
		"PAGE_TAB_HARDWARE_ERROR":  {"event", []uint64{4<<60 | 1<<57, 0x26a0208}, []string{"PAGE_TAB_HARDWARE_ERROR {", "0x26a0208 entry"}},
		"ILLEGAL_COMMAND_ERROR":    {"event", []uint64{5 << 60, 0x2694010}, []string{"ILLEGAL_COMMAND_ERROR {", "0x2694010 command"}},
		"COMMAND_HARDWARE_ERROR":   {"event", []uint64{6<<60 | 3<<57, 0x2694010}, []string{"COMMAND_HARDWARE_ERROR {", "Type 58:57 = 0x3"}},
		"IOTLB_INV_TIMEOUT":        {"event", []uint64{7<<60 | 0x100, 0x2694010}, []string{"IOTLB_INV_TIMEOUT {", "DeviceID 15:0 = 0x100"}},
		"INVALID_DEVICE_REQUEST":   {"event", []uint64{8<<60 | 1<<57 | 1<<56, 0xfee00000}, []string{"INVALID_DEVICE_REQUEST {", "Type 59:57 = 0x1", "TR 56 = 0x1"}},
		"INVALID_PPR_REQUEST":      {"event", []uint64{9<<60 | 1<<57 | 3<<42 | 5<<32 | 0x22<<16 | 8, 0x1000}, []string{"INVALID_PPR_REQUEST {", "PPRTag 41:32 = 0x5", "PASID = 0x30022 "}},
		"EVENT_COUNTER_ZERO":       {"event", []uint64{0xa << 60, 0x12345 | 0xabcd<<32}, []string{"EVENT_COUNTER_ZERO {", "CounterNote = 0x123450000abcd "}},
		"GUEST_EVENT_FAULT":        {"event", []uint64{0xb << 60, 0}, []string{"GUEST_EVENT_FAULT {"}},
		"VIOMMU_HARDWARE_ERROR":    {"event", []uint64{0xc << 60, 0}, []string{"VIOMMU_HARDWARE_ERROR {"}},
		"RMP_PAGE_FAULT":           {"event", []uint64{0xd<<60 | 0x20<<48 | 3<<32 | 9<<16 | 8, 0x1000}, []string{"RMP_PAGE_FAULT {", "RMPFlags 23:16 = 0x9", "VMGTag 47:32 = 0x3", "Flags 59:48 = 0x20"}},
		"RMP_HARDWARE_ERROR":       {"event", []uint64{0xe<<60 | 3<<32, 0x1008}, []string{"RMP_HARDWARE_ERROR {", "0x1008 RMP entry"}},
		"no event":                 {"event", []uint64{0xf << 60, 0}, []string{"event of unknown code 0xf {"}},
		"PPR log entry":            {"ppr", []uint64{1<<60 | 1<<56 | 1<<53 | 1<<42 | 1<<41 | 0x1ff<<32 | 5<<16 | 8, 0x7f000}, []string{"PPR log entry {", "PRG 40:32 = 0x1ff", "Last 41 = 0x1", "W 53 = 0x1", "PASID = 0x10005 ", "0x7f000 address"}},
		"GA log entry":             {"ga", []uint64{1<<60 | 8<<32 | 0x1234}, []string{"GA log entry {", "GATag 31:0 = 0x1234", "8 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := decoded(t, "amdvi", c.kind, c.words...)
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
			if !strings.Contains(strings.Join(c.want, ""), "other bits set") {
				require.Contains(t, out, "all other bits: 0")
			}
		})
	}
}
