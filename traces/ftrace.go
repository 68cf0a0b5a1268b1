package traces

import (
	"io"
	"strings"

	"github.com/iommulab/iommulab/emu"
)

// ImportFtrace reads the text of ftrace, of trace-cmd report, or of perf script: the events of dma:*,
// iommu:* and intel_iommu:*.
//
// The dma:* events name the device but neither its pages nor always their addresses; iommu:map has both but
// no device. A dma event therefore claims the iommu:map events of the same task before it that cover its
// address, and becomes Map events of whole pages. Where that is not possible:
//
//   - A dma event without iommu:map (not recorded, or the device bypasses the IOMMU) maps the pages around
//     its buffer to the address it states; dma_alloc states none, and its Map has none.
//   - An iommu:map that no dma event claims (identity maps at boot, VFIO, iommufd, and the two-step DMA API,
//     dma_iova_link, that newer block drivers use for some requests) belongs to no device that the log
//     names; it is counted and left out.
//   - A dma unmap of what was mapped before the recording began is counted and left out.
//   - dma_unmap_sg states no IOVA: it ends the oldest mapping of that device whose first address is the
//     first of its list.
//   - A device that is not a PCI function needs ImportOptions.Devices. The PCI segment, if any, is in bits
//     31:16 of the source ID.
//
// Lines with other events are counted as unknown. The log has no accesses: see SynthAccesses.
//
// On an error what was read before is returned with it.
func ImportFtrace(r io.Reader, opts ImportOptions) (*Trace, *Report, error) {
	f := &ftraceImport{
		importer: newImporter(r, "ftrace", opts), maps: make(map[uint64][]pendingMap),
		live: make(map[emu.SourceID]*allocations), domain: make(map[uint64]uint64),
	}
	f.trace.Header.Clock = "ftrace"
	t, rep, err := f.run(f.line)
	for _, list := range f.maps {
		f.unclaimed += len(list)
	}
	f.skip("iommu:map that no dma event claims", f.unclaimed)
	rep.Events = len(t.Events)
	return t, rep, err
}

// ftraceImport is an import under way.
type ftraceImport struct {
	*importer
	cur       ftraceLine
	maps      map[uint64][]pendingMap // by task: iommu:map events not yet claimed
	unclaimed int
	live      map[emu.SourceID]*allocations
	domain    map[uint64]uint64 // by task: domain ID of the latest cache_tag_assign, plus 1
}

var ftraceRules = compileRules(ftraceIOMMU, ftraceDMA, ftraceIntel, ftraceMarks)

// ftraceMarks are texts that users wrote into the trace.
var ftraceMarks = []rule[*ftraceImport]{
	{"tracing_mark_write", []string{"%*"}, (*ftraceImport).userMark},
	{"print", []string{"%*"}, (*ftraceImport).userMark},
	{"bprint", []string{"%*"}, (*ftraceImport).userMark},
}

func (f *ftraceImport) line(line string) error {
	if !parseFtraceLine(line, &f.cur) {
		return f.otherLine(line)
	}
	f.start("ftrace", formatSeconds(f.cur.time))
	f.clock(f.cur.time)
	r, known := ftraceRules[f.cur.event]
	if !known {
		count(&f.report.Unknown, eventName(f.cur.event), 1)
		return nil
	}
	return r.apply(f.importer, f, f.cur.text)
}

// otherLine takes what is not an event: notes of the recorder about what it lost, and headings.
func (f *ftraceImport) otherLine(line string) error {
	text := strings.TrimSpace(line)
	if strings.HasPrefix(text, "CPU:") {
		if _, lost, found := strings.Cut(text, "[LOST "); found {
			if n, _, ok := cutNumber(lost, 'd'); ok {
				f.report.Lost += n
				f.report.Comments++
				return nil
			}
		}
	}
	for _, heading := range []string{"cpus=", "version =", "CPU "} {
		if strings.HasPrefix(text, heading) {
			f.report.Comments++
			return nil
		}
	}
	// A line that names a known event and cannot be taken apart is damaged, not foreign.
	for word := range strings.FieldsSeq(text) {
		name, ok := strings.CutSuffix(word, ":")
		if colon := strings.LastIndexByte(name, ':'); colon >= 0 {
			name = name[colon+1:]
		}
		if _, known := ftraceRules[name]; ok && known && name != "print" {
			return f.malformed("line", "TASK-PID [CPU] TIME: EVENT: ...", text)
		}
	}
	count(&f.report.Unknown, "(text)", 1)
	return nil
}

// formatSeconds is the inverse of parseSeconds.
func formatSeconds(ns uint64) string {
	frac := uitoa(1e9 + ns%1e9)[1:]
	return uitoa(ns/1e9) + "." + frac
}

// device returns the source ID of a device by its name in the log.
func (f *ftraceImport) device(name string) (emu.SourceID, bool) {
	if sid, ok := f.opts.Devices[name]; ok {
		return f.alias(sid), true
	}
	if sid, ok := ParsePCI(name); ok {
		return f.alias(sid), true
	}
	f.skip("event of the device "+clip(name)+", whose source ID is not known", 1)
	return NoSID, false
}

// ParsePCI reads the name of a PCI function, SEGMENT:BUS:SLOT.FUNCTION or without the segment, into a
// source ID with the segment in bits 31:16.
func ParsePCI(name string) (emu.SourceID, bool) {
	segment := uint64(0)
	if strings.Count(name, ":") == 2 {
		v, rest, ok := cutNumber(name, 'x')
		if !ok || v > 0xffff || !strings.HasPrefix(rest, ":") {
			return 0, false
		}
		segment, name = v, rest[1:]
	}
	var f fields
	if !pciName.match(name, &f) || f.n[0] > 0xff || f.n[1] > 0x1f || f.n[2] > 7 {
		return 0, false
	}
	return emu.SourceID(segment<<16 | f.n[0]<<8 | f.n[1]<<3 | f.n[2]), true
}

var pciName = compile("%x:%x.%x")

func (f *ftraceImport) userMark(v *fields) error {
	f.mark(v.s[0], Event{SID: NoSID, PASID: emu.NoPASID})
	return nil
}
