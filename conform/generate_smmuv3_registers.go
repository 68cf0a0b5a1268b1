package conform

import (
	"github.com/iommulab/iommulab/emu/smmuv3/spec"
)

// smmuPlace is where the registers of a queue are.
type smmuPlace struct {
	base, prod, cons uint32
	what             string
}

var (
	smmuCommands   = smmuPlace{spec.OffCMDQBase, spec.OffCMDQProd, spec.OffCMDQCons, "Command queue"}
	smmuEventQueue = smmuPlace{spec.OffEVENTQBase, spec.OffEVENTQProd, spec.OffEVENTQCons, "Event queue"}
)

// place sets an empty queue up. It has to be off.
func (g *smmuGen) place(base uint64, p *smmuPlace) {
	g.long(p.base, base, p.what)
	g.write(p.prod, 4, 0, "%s: PROD", p.what)
	g.write(p.cons, 4, 0, "%s: CONS", p.what)
}

// rawRegisters writes to registers what they do not take, or not now.
func (g *smmuGen) rawRegisters() {
	g.section("register writes that mean nothing")
	for range 1 + g.r.IntN(3) {
		g.rawRegister(g.r.Uint64())
	}
}

func (g *smmuGen) rawRegister(v uint64) {
	const others = 0xffff_fff2 // bits of CR0 and IRQ_CTRL that this unit does not have
	switch g.r.IntN(12) {
	case 0:
		g.write(spec.OffCR0, 4, g.cr0|v&others, "CR0: what there is not")
	case 1:
		g.write(spec.OffCR1, 4, v, "CR1")
	case 2:
		g.write(spec.OffCR2, 4, v, "CR2")
	case 3:
		g.write(spec.OffGBPA, 4, v&^spec.GbpaUPDATE.Mask(), "GBPA without UPDATE")
	case 4:
		g.write(spec.OffIRQCtrl, 4, v&others, "IRQ_CTRL: what there is not")
	case 5:
		g.write(spec.OffGERRORN, 4, g.gerrorn^v&0x1fd, "GERRORN: errors that are not active")
	case 6:
		g.long(spec.OffSTRTABBase, uint64(g.streams.base)^v&^spec.StrtabAddr.Mask()^1<<(12+v>>60), "STRTAB_BASE in use")
	case 7:
		g.write(spec.OffSTRTABBaseCfg, 4, g.streamsCfg()^v&0xff00_003f, "STRTAB_BASE_CFG in use")
	case 8:
		g.write(spec.OffCMDQBase, 8, uint64(g.cmds.base)^v&0xffff_001f, "CMDQ_BASE in use")
	case 9:
		g.write(one[uint32](&g.builder, spec.OffCMDQCons, spec.OffEVENTQProd), 4, v, "index of the unit")
	case 10:
		r := one(&g.builder, smmuReadOnly...)
		g.write(r, 4, v, "a register that is read-only")
		g.read(r, 4, "it")
	default:
		r := one(&g.builder, smmuIrqCfg...)
		g.write(r, 4, v, "a message that there is not")
		g.read(r, 4, "it")
	}
}

// smmuReadOnly are registers that software cannot change.
var smmuReadOnly = []uint32{
	spec.OffIDR0, spec.OffIDR1, spec.OffIDR2, spec.OffIDR3, spec.OffIDR4, spec.OffIDR5, spec.OffIIDR, spec.OffAIDR, spec.OffCR0ACK,
	spec.OffIRQCtrlACK, spec.OffGERROR, spec.OffSTATUSR,
}

// smmuIrqCfg are the registers of messages, which this unit does not send.
var smmuIrqCfg = []uint32{
	spec.OffGERRORIRQCfg0, spec.OffGERRORIRQCfg0 + 4, spec.OffGERRORIRQCfg1, spec.OffGERRORIRQCfg2,
	spec.OffEVENTQIRQCfg0, spec.OffEVENTQIRQCfg0 + 4, spec.OffEVENTQIRQCfg1, spec.OffEVENTQIRQCfg2,
}
