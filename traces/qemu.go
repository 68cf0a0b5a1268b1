package traces

import (
	"io"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/iommulab/iommulab/emu"
)

// ImportQEMU reads the trace log of QEMU: lines "NAME TEXT" with the time before them in ISO 8601 (as
// `-msg timestamp=on` prints it), as PID@SECONDS.MICROSECONDS: (as the log backend prints it), or without
// one; such lines are 1 us apart. vtd_*, amdvi_*, smmuv3_* and smmu_* events are known.
//
// The log states translations, not accesses: their length is not known, and their direction only if the
// mapping allows but one. It states no mappings at all; Map and Unmap events are derived as in
// DeriveMappings, but with the page sizes that the log has. Interrupt writes (0xfee00000) are IRQ events
// and never translations, but for SMMUv3, which translates them. Refused accesses are Marker events; QEMU
// retries them in pieces of 4 bytes, so that several lines may stand for one DMA.
//
// The domain of Attach and Invalidate events is that of the unit's tags: domain ID, DomainID, or VMID in bits
// 31:16 and ASID in bits 15:0 (0xffff: a second stage alone).
//
// On an error what was read before is returned with it.
func ImportQEMU(r io.Reader, opts ImportOptions) (*Trace, *Report, error) {
	q := &qemuImport{importer: newImporter(r, "qemu", opts)}
	q.deriver = newDeriver(&q.trace.Events)
	q.trace.Header.Clock = "line"
	t, rep, err := q.run(q.line)
	if !opts.NoMappings {
		t.Header.addNote(noteDerived)
	}
	rep.Derived += q.deriver.derived
	q.skip("translation contradicts the mappings, taken as a new one", q.deriver.conflicts)
	q.skip("invalidation of a domain that nothing used yet", q.deriver.unbound)
	rep.Events = len(t.Events)
	return t, rep, err
}

// qemuImport is an import under way. The fields below the deriver are what one line leaves for the next.
type qemuImport struct {
	*importer
	deriver *deriver

	page       qemuPage // latest IOTLB lookup, not yet claimed by a translation
	descriptor Event    // latest raw IOTLB invalidation, which the next line repeats decoded
	refusal    string   // why the request of the next result is refused
	smmu       smmuLook // of the next result
}

type qemuPage struct {
	sid  emu.SourceID
	iova emu.IOVA
	perm Perm
	ok   bool
}

var qemuRules = compileRules(qemuVTD, qemuAMDVi, qemuSMMUv3, qemuCommon)

// qemuCommon are events beside those of the units.
var qemuCommon = []rule[*qemuImport]{
	{name: "vm_state_notify"},
	{name: "x86_iommu_iec_notify"},
}

func (q *qemuImport) line(line string) error {
	line = q.prefix(line)
	name, text, _ := strings.Cut(line, " ")
	if strings.HasPrefix(name, smmuRegion) {
		name = smmuRegion
	}
	r, known := qemuRules[name]
	if !known {
		count(&q.report.Unknown, eventName(name), 1)
		return nil
	}
	return r.apply(q.importer, q, text)
}

// eventName is the key of an unknown event; other talk in a log is counted together.
func eventName(name string) string {
	for i := range len(name) {
		c := name[i]
		if c != '_' && digit(c) > 9 && (c|0x20 < 'a' || c|0x20 > 'z') {
			return "(text)"
		}
	}
	if name == "" || len(name) > 64 {
		return "(text)"
	}
	return name
}

// prefix takes the time off the front of a line and sets the clock.
func (q *qemuImport) prefix(line string) string {
	word, rest, _ := strings.Cut(line, " ")
	if len(word) >= 20 && word[10] == 'T' && word[len(word)-1] == 'Z' {
		if t, err := time.Parse(time.RFC3339Nano, word); err == nil && t.Unix() > 0 {
			q.start("utc", word)
			q.clock(uint64(t.UnixNano()))
			return rest
		}
	}
	if pid, _, found := strings.Cut(word, "@"); found && isDigits(pid) {
		if at := strings.IndexByte(line, ':'); at > 0 {
			stamp := line[len(pid)+1 : at]
			if ns, ok := parseSeconds(stamp); ok {
				q.start("utc", stamp)
				q.clock(ns)
				return line[at+1:]
			}
		}
	}
	// Between lines with a time, one without belongs to the line before it.
	if q.trace.Header.Clock == "line" {
		q.clock(uint64(q.lines.n) * 1000)
	}
	return line
}

// start takes note of the first time in the log.
func (im *importer) start(clock, at string) {
	if im.trace.Header.Start == "" {
		im.trace.Header.Clock, im.trace.Header.Start = clock, at
		im.timed, im.now = false, 0
		for i := range im.trace.Events { // lines before the first time
			im.trace.Events[i].Time = 0
		}
	}
}

func isDigits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}

// parseSeconds reads SECONDS.FRACTION into ns; digits beyond the ninth are dropped.
func parseSeconds(s string) (uint64, bool) {
	whole, frac, found := strings.Cut(s, ".")
	sec, err := strconv.ParseUint(whole, 10, 33)
	if err != nil || !found || frac == "" {
		return 0, false
	}
	frac = (frac + "000000000")[:9]
	ns, err := strconv.ParseUint(frac, 10, 32)
	return sec*1e9 + ns, err == nil
}

// translated records an access that was translated in a page of size bytes.
func (q *qemuImport) translated(s Space, iova emu.IOVA, to target, size uint64, perm Perm) {
	if !q.opts.NoMappings {
		q.deriver.access(q.now, s, iova, to, size, perm)
	}
	kind := Access
	switch perm {
	case PermR:
		kind = Read
	case PermW:
		kind = Write
	}
	e := Event{Kind: kind, SID: s.SID, PASID: s.PASID, IOVA: iova, HasPA: to.known, Perm: perm}
	if to.known {
		e.PA = to.pa
	}
	q.add(e)
}

// inDomain records that a requester is translated by a domain, when that is new.
func (q *qemuImport) inDomain(s Space, domain uint64) {
	if q.deriver.bind(s, domain) {
		q.report.Derived++
		q.add(Event{Kind: Attach, SID: s.SID, PASID: s.PASID, PA: emu.PA(domain), HasPA: true})
	}
}

// invalidated records an invalidation of translations and its effect on the derived mappings.
func (q *qemuImport) invalidated(e Event) {
	e.Time = q.now
	q.add(e)
	if !q.opts.NoMappings && (e.HasPA || e.SID == NoSID) {
		q.deriver.invalidate(&e)
	}
}

// pageSize turns an address mask such as 0xfff into a size; ok if it is one of a page.
func pageSize(mask uint64) (uint64, bool) {
	return mask + 1, bits.OnesCount64(mask+1) == 1 && mask >= emu.PageSize-1 && mask < MaxLen
}
