package snapshot

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/iommulab/iommulab/emu"
)

// Regs is the register state of one IOMMU, with what is known about its machine.
type Regs struct {
	IOMMU    string // kind of unit, as the file spells it
	Config   string
	MMIOBase emu.PA
	RAMBase  emu.PA
	RAMSize  uint64
	Snapshot uint64 // number of the snapshot within its recording
	Recorder string // "QEMU 11.1.3"; empty: not said
	Image    emu.RegImage
}

// maxRegs bounds a register file: a few pages of registers as text.
const maxRegs = 16 << 20

// ReadRegs reads registers from JSON: an object with iommu, config, mmio_base, ram_base, ram_size,
// snapshot, and the objects regs64 and regs32 that map offsets to values. Numbers are JSON numbers
// or strings as "0x10". A member qemu is what QEMU says of its version (QMP query-version). Other members
// are not looked at. name is the file's name in errors.
func ReadRegs(r io.Reader, name string) (*Regs, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxRegs+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(b) > maxRegs {
		return nil, &Error{File: name, Offset: maxRegs, Msg: fmt.Sprintf("more than %d bytes, want a register file", maxRegs)}
	}
	d := regsDecoder{name: name, dec: json.NewDecoder(bytes.NewReader(b)), seen: make(map[string]bool)}
	d.dec.UseNumber()
	if err := d.object("", d.member); err != nil {
		return nil, err
	}
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, d.fail("", "more than one value, want one object")
	}
	return d.finish()
}

type regsDecoder struct {
	name string
	dec  *json.Decoder
	seen map[string]bool
	regs Regs
}

func (d *regsDecoder) fail(field, format string, args ...any) error {
	return &Error{File: d.name, Offset: d.dec.InputOffset(), Field: field, Msg: fmt.Sprintf(format, args...)}
}

func (d *regsDecoder) bad(field string, err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return &Error{File: d.name, Offset: d.dec.InputOffset(), Field: field, Err: err}
}

// object reads an object and calls member for each key, with the decoder before the value.
func (d *regsDecoder) object(field string, member func(key string) error) error {
	t, err := d.dec.Token()
	if err != nil {
		return d.bad(field, err)
	}
	if t != json.Delim('{') {
		return d.fail(field, "%v, want an object", t)
	}
	for d.dec.More() {
		k, err := d.dec.Token()
		if err != nil {
			return d.bad(field, err)
		}
		if err := member(k.(string)); err != nil {
			return err
		}
	}
	if _, err := d.dec.Token(); err != nil {
		return d.bad(field, err)
	}
	return nil
}

func (d *regsDecoder) member(key string) (err error) {
	if d.seen[key] {
		return d.fail(key, "appears twice, want it once")
	}
	d.seen[key] = true
	r := &d.regs
	switch key {
	case "iommu":
		r.IOMMU, err = d.text(key)
	case "config":
		r.Config, err = d.text(key)
	case "mmio_base":
		err = d.number(key, (*uint64)(&r.MMIOBase))
	case "ram_base":
		err = d.number(key, (*uint64)(&r.RAMBase))
	case "ram_size":
		err = d.number(key, &r.RAMSize)
	case "snapshot":
		err = d.number(key, &r.Snapshot)
	case "qemu":
		err = d.qemu(key)
	case "regs64":
		err = d.object(key, func(off string) error { return d.register(key, off, 8) })
	case "regs32":
		err = d.object(key, func(off string) error { return d.register(key, off, 4) })
	default:
		var skip json.RawMessage
		if err = d.dec.Decode(&skip); err != nil {
			err = d.bad(key, err)
		}
	}
	return err
}

func (d *regsDecoder) register(list, key string, size uint8) error {
	field := fmt.Sprintf("%s[%q]", list, key)
	off, err := strconv.ParseUint(key, 0, 32)
	if err != nil {
		return d.fail(field, "want an offset of 32 bits as \"0x10\"")
	}
	if off%uint64(size) != 0 {
		return d.fail(field, "want an offset that is a multiple of %d", size)
	}
	v := emu.RegValue{Off: uint32(off), Size: size}
	if err := d.number(field, &v.Value); err != nil {
		return err
	}
	if size == 4 && v.Value>>32 != 0 {
		return d.fail(field, "%#x, want a value of 32 bits", v.Value)
	}
	d.regs.Image = append(d.regs.Image, v)
	return nil
}

// qemu reads the version of QEMU.
func (d *regsDecoder) qemu(field string) error {
	var v struct {
		QEMU struct{ Major, Minor, Micro int } `json:"qemu"`
	}
	if err := d.dec.Decode(&v); err != nil {
		if _, wrong := errors.AsType[*json.UnmarshalTypeError](err); wrong {
			return d.fail(field, "want what QMP query-version returns")
		}
		return d.bad(field, err)
	}
	d.regs.Recorder = fmt.Sprintf("QEMU %d.%d.%d", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro)
	return nil
}

func (d *regsDecoder) text(field string) (string, error) {
	t, err := d.dec.Token()
	if err != nil {
		return "", d.bad(field, err)
	}
	s, ok := t.(string)
	if !ok {
		return "", d.fail(field, "%v, want a string", t)
	}
	return s, nil
}

func (d *regsDecoder) number(field string, v *uint64) error {
	t, err := d.dec.Token()
	if err != nil {
		return d.bad(field, err)
	}
	s, ok := t.(string)
	if n, isNumber := t.(json.Number); isNumber {
		s, ok = n.String(), true
	}
	if !ok {
		return d.fail(field, "%v, want a number or a string as \"0x10\"", t)
	}
	if *v, err = strconv.ParseUint(s, 0, 64); err != nil {
		return d.fail(field, "%q, want a number of 64 bits as \"0x10\"", s)
	}
	return nil
}

// finish sorts the registers and checks that none overlap.
func (d *regsDecoder) finish() (*Regs, error) {
	img := d.regs.Image
	if d.regs.IOMMU == "" {
		return nil, &Error{File: d.name, Offset: -1, Field: "iommu", Msg: "missing, want the kind of unit"}
	}
	if len(img) == 0 {
		return nil, &Error{File: d.name, Offset: -1, Field: "regs64", Msg: "no registers, want at least one in regs64 or regs32"}
	}
	slices.SortFunc(img, func(a, b emu.RegValue) int { return cmp.Or(cmp.Compare(a.Off, b.Off), cmp.Compare(a.Size, b.Size)) })
	// A 64-bit register may be listed by halves as well, if both agree.
	out := img[:1]
	for _, v := range img[1:] {
		p := out[len(out)-1]
		if uint64(v.Off) >= uint64(p.Off)+uint64(p.Size) {
			out = append(out, v)
			continue
		}
		if p.Size == 4 && v.Size == 8 { // the same offset: the wide one holds both
			if uint32(v.Value) != uint32(p.Value) {
				return nil, d.clash(p, v)
			}
			out[len(out)-1] = v
			continue
		}
		if v.Size == p.Size || uint32(p.Value>>((v.Off-p.Off)*8)) != uint32(v.Value) {
			return nil, d.clash(p, v)
		}
	}
	d.regs.Image = out
	return &d.regs, nil
}

func (d *regsDecoder) clash(a, b emu.RegValue) error {
	return &Error{
		File: d.name, Offset: -1, Field: fmt.Sprintf("regs%d[%#x]", int(b.Size)*8, b.Off),
		Msg: fmt.Sprintf("%#x, want what regs%d[%#x] = %#x says", b.Value, int(a.Size)*8, a.Off, a.Value),
	}
}
