package amdvi

import (
	"github.com/iommulab/iommulab/emu"
	"github.com/iommulab/iommulab/emu/amdvi/spec"
)

// probeDevice looks into the DTE cache. A hit that nobody counts or could do something in the middle of
// needs no question.
func (u *Unit) probeDevice(t *emu.Txn) {
	if u.cache.Entry == nil {
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stDeviceWalker)
		return
	}
	key := deviceKey(t.Req.Source)
	if t.Solo && !u.perf.on {
		if e, h := u.cache.Entry.Find(&key); e != nil {
			u.cache.Entry.Touch(h)
			t.Res.Touched |= emu.CacheEntry.Set()
			t.Entry[0], t.Entry[1], t.Entry[2], t.Entry[3] = e[0], e[1], e[2], e[3]
			u.deviceReady(t)
			return
		}
	}
	t.Probe(emu.CacheEntry, key, StepDeviceCache, stDeviceProbed)
}

func (u *Unit) deviceProbed(t *emu.Txn) {
	if t.Ans == emu.AnsOK {
		u.deviceCached(t)
		return
	}
	t.Acquire(emu.SlotEntry, deviceKey(t.Req.Source), StepDeviceMiss, stDeviceSlot)
}

func (u *Unit) deviceSlot(t *emu.Txn) {
	switch t.Ans {
	case emu.AnsMerged:
		u.deviceCached(t)
	case emu.AnsRetry:
		u.probeDevice(t)
	default:
		t.Acquire(emu.SlotWalker, emu.Key{}, StepWalker, stDeviceWalker)
	}
}

// deviceCached uses a value of the DTE cache.
func (u *Unit) deviceCached(t *emu.Txn) {
	t.Entry[0], t.Entry[1], t.Entry[2], t.Entry[3] = t.In[0], t.In[1], t.In[2], t.In[3]
	u.deviceReady(t)
}

// deviceAddress returns where the DTE of a device is, and false if the device table is too short.
// With segments the upper bits of the DeviceID select the table (3.4).
func (u *Unit) deviceAddress(s emu.SourceID) (emu.PA, bool) {
	if s>>16 != 0 {
		return 0, false
	}
	n := min(spec.CtlDevTblSegEn.Of(u.ctl), uint64(u.cfg.DevTblSegSup))
	base := u.reg.Get(rDevTab)
	index := uint64(s)
	if n != 0 {
		if seg := index >> (16 - n); seg != 0 {
			base = u.reg.Get(rSegment1 + int(seg) - 1)
		}
		index &= 1<<(16-n) - 1
	}
	size := (spec.DevTabSize.Of(base) + 1) * emu.PageSize
	return emu.PA(base&spec.DevTabBase.Mask() + index*spec.DTESize), index*spec.DTESize < size
}

// fetchDevice reads the DTE, all of it at once.
func (u *Unit) fetchDevice(t *emu.Txn) {
	at, ok := u.deviceAddress(t.Req.Source)
	if !ok {
		c := uint16(FaultDeviceRange)
		if t.Req.Type == emu.TranslationReq {
			c = FaultTRDevice
		}
		u.fault(t, c, StepDevice, 0)
		return
	}
	t.At = at
	t.Fetch(at, spec.DTESize, StepDevice, stDevice)
}

// deviceEntry takes the DTE and notes what is wrong with it. Any DTE is cached, absent ones too: a
// change of any field needs an INVALIDATE_DEVTAB_ENTRY (2.4.2).
func (u *Unit) deviceEntry(t *emu.Txn) {
	if t.Ans == emu.AnsError {
		u.fault(t, FaultDTERead, StepDevice, t.At)
		return
	}
	copy(t.Entry[:4], t.In[:])
	if u.obs != nil {
		u.obs.Assembled(t, emu.StructDevice, t.At, t.Entry[:4])
	}
	e := (*spec.DTE)(t.Entry[:4])
	flags := valMem.Put(uint64(u.checkMemory(e)>>4)) | valInt.Put(uint64(u.checkInterrupt(e)>>4))
	t.Entry[3] = t.Entry[3]&^valFlags.Mask() | flags
	if u.cache.Entry == nil {
		u.deviceFilled(t)
		return
	}
	u.fillDevice(t, stDeviceFilled)
}

func (u *Unit) fillDevice(t *emu.Txn, next uint16) {
	t.Act.Data = [4]uint64{t.Entry[0], t.Entry[1], t.Entry[2], t.Entry[3]}
	t.Fill(emu.CacheEntry, deviceKey(t.Req.Source), 0, uint32(spec.DteDomainID.Of(t.Entry[1])), StepDeviceFill, next)
}

func (u *Unit) deviceFilled(t *emu.Txn) { t.Release(emu.SlotWalker, StepWalker, stDeviceReady) }

// checkMemory returns the fault of the memory half of a DTE, or 0. Bits 127:1 count only with V=1.
func (u *Unit) checkMemory(e *spec.DTE) uint16 {
	switch {
	case !e.V():
		return 0
	case e[0]&u.lim.dte[0]|e[1]&u.lim.dte[1] != 0:
		return FaultDTEReserved
	case spec.DteIoCtl.Of(e[1]) == 3, spec.DteHAD.Of(e[0]) == 2:
		return FaultDTEValue
	case spec.DteHAD.Of(e[0]) == spec.HADAD && !u.cfg.HDSup:
		return FaultDTEValue
	case e.GV() && (e.GLX() > u.cfg.GLXSup || e.GuestPagingMode() > u.cfg.GATS):
		return FaultDTEValue
	}
	return 0
}

// checkInterrupt returns the fault of the interrupt half of a DTE, or 0. Bits 255:129 count only with
// IV=1.
func (u *Unit) checkInterrupt(e *spec.DTE) uint16 {
	switch {
	case !e.IV():
		return 0
	case e[2]&u.lim.dte[2]|e[3]&u.lim.dte[3] != 0, spec.DteIntCtl.Of(e[2]) == 3:
		return FaultDTEReserved
	case spec.DteIntCtl.Of(e[2]) == spec.IntCtlRemap && spec.DteIntTabLen.Of(e[2]) > spec.MaxIntTabLen:
		return FaultDTEValue
	}
	return 0
}

// deviceReady goes on with the DTE in t.Entry.
func (u *Unit) deviceReady(t *emu.Txn) {
	t.Known |= emu.KnownDomain
	if auxInterrupt.On(t.Aux[0]) {
		u.interruptRequest(t)
		return
	}
	t.Tag = emu.MakeTag(ClassHost, uint32(spec.DteDomainID.Of(t.Entry[1])), emu.NoPASID)
	t.Ver = DTEVersion(t.Entry[:4])
	t.Res.Prov.Entry = t.Ver
	q := &t.Req
	switch cause := uint16(valMem.Of(t.Entry[3])); {
	case cause != 0:
		u.fault(t, cause<<4|spec.EventIllegalDTE, StepDevice, t.At)
	case q.Type == emu.PageRequest:
		u.pageRequest(t)
	case spec.DteV.On(t.Entry[0]):
		u.request(t)
	case q.Type == emu.TranslationReq:
		u.fault(t, FaultTRDisabled, StepDevice, 0)
	case q.Type == emu.Translated:
		u.fault(t, FaultTranslated, StepDevice, 0)
	default: // V=0: untranslated and unchecked
		pass(q, &t.Res)
		t.Done(StepDevice)
	}
}
