package amdvi

import "github.com/iommulab/iommulab/emu"

// The steps of the specification, as Act.Step and Fault.Step name them.
const (
	StepNone emu.Step = iota
	StepFrontEnd
	StepInterruptRange
	StepSpecialRange
	StepDeviceCache
	StepDeviceMiss
	StepWalker
	StepDevice
	StepDeviceFill
	StepRequestCheck
	StepExclusion
	StepIdentity
	StepInterrupt
	StepInterruptOrder
	StepIRTECache
	StepIRTE
	StepIRTEFill
	StepPost
	StepDoorbell
	StepGAWrite
	StepPPRCheck
	StepPPRWrite
	StepPPRResponse
	StepAddressWidth
	StepIOTLB
	StepIOTLBMiss
	StepWalkCache
	StepHostTable
	StepHostLeaf
	StepHostUpdate
	StepWalkFill
	StepStage2
	StepStage2Fill
	StepGCR3Cache
	StepGCR3
	StepGCR3Fill
	StepGuestTable
	StepGuestUpdate
	StepIOTLBFill
	StepLog
	StepEventWrite
	StepCommandFetch
	StepCommandDecode
	StepInvalidate
	StepCommandIOTLB
	StepTimeout
	StepWaitDrain
	StepWaitStore
	StepCommandStop
	StepMessage
	StepCounterZero
	numSteps
)

var steps = [numSteps]emu.StepInfo{
	StepNone:           {Name: "none"},
	StepFrontEnd:       {Name: "request", Clause: "2.1"},
	StepInterruptRange: {Name: "interrupt address range", Clause: "2.1"},
	StepSpecialRange:   {Name: "HyperTransport address range", Clause: "2.1"},
	StepDeviceCache:    {Name: "DTE cache look-up", Clause: "2.2.2"},
	StepDeviceMiss:     {Name: "DTE cache miss", Clause: "2.2.2"},
	StepWalker:         {Name: "walker", Clause: "2.2"},
	StepDevice:         {Name: "device table entry", Clause: "2.2.2"},
	StepDeviceFill:     {Name: "DTE cache fill", Clause: "2.2.2"},
	StepRequestCheck:   {Name: "request against device table entry", Clause: "2.2.2"},
	StepExclusion:      {Name: "exclusion range", Clause: "2.1"},
	StepIdentity:       {Name: "identity (Mode=0)", Clause: "2.2.2"},
	StepInterrupt:      {Name: "interrupt control", Clause: "2.2.5"},
	StepInterruptOrder: {Name: "interrupt behind earlier writes", Clause: "2.2.5"},
	StepAddressWidth:   {Name: "input address width", Clause: "2.2.3"},
	StepIOTLB:          {Name: "IOTLB look-up", Clause: "2.4.3"},
	StepIOTLBMiss:      {Name: "IOTLB miss", Clause: "2.4.3"},
	StepWalkCache:      {Name: "paging-structure cache look-up", Clause: "2.4.3"},
	StepHostTable:      {Name: "host table entry", Clause: "2.2.3"},
	StepHostLeaf:       {Name: "host table entry of the lowest level", Clause: "2.2.3"},
	StepHostUpdate:     {Name: "host accessed/dirty update", Clause: "2.2.3"},
	StepWalkFill:       {Name: "paging-structure cache fill", Clause: "2.4.3"},
	StepStage2:         {Name: "guest physical address look-up", Clause: "2.2.7"},
	StepStage2Fill:     {Name: "guest physical address fill", Clause: "2.2.7"},
	StepGCR3Cache:      {Name: "GCR3 cache look-up", Clause: "2.2.6"},
	StepGCR3:           {Name: "GCR3 table entry", Clause: "2.2.6"},
	StepGCR3Fill:       {Name: "GCR3 cache fill", Clause: "2.2.6"},
	StepGuestTable:     {Name: "guest table entry", Clause: "2.2.6"},
	StepGuestUpdate:    {Name: "guest accessed/dirty update", Clause: "2.2.6"},
	StepIOTLBFill:      {Name: "IOTLB fill", Clause: "2.4.3"},
	StepLog:            {Name: "log", Clause: "2.5"},
	StepIRTECache:      {Name: "interrupt table look-up", Clause: "2.2.5"},
	StepIRTE:           {Name: "interrupt table entry", Clause: "2.2.5"},
	StepIRTEFill:       {Name: "interrupt table fill", Clause: "2.2.5"},
	StepPost:           {Name: "virtual APIC page", Clause: "2.2.8"},
	StepDoorbell:       {Name: "doorbell", Clause: "2.2.8"},
	StepGAWrite:        {Name: "GA log write", Clause: "2.7"},
	StepPPRCheck:       {Name: "page request against device table entry", Clause: "2.6"},
	StepPPRWrite:       {Name: "PPR log write", Clause: "2.6"},
	StepPPRResponse:    {Name: "page request group response", Clause: "2.6"},
	StepEventWrite:     {Name: "event log write", Clause: "2.5"},
	StepCommandFetch:   {Name: "command fetch", Clause: "2.4"},
	StepCommandDecode:  {Name: "command decode", Clause: "2.4"},
	StepInvalidate:     {Name: "invalidation", Clause: "2.4"},
	StepCommandIOTLB:   {Name: "device IOTLB invalidation", Clause: "2.4.4"},
	StepTimeout:        {Name: "device IOTLB time-out", Clause: "2.5.8"},
	StepWaitDrain:      {Name: "COMPLETION_WAIT: drain", Clause: "2.4.1"},
	StepWaitStore:      {Name: "COMPLETION_WAIT: store", Clause: "2.4.1"},
	StepCommandStop:    {Name: "command buffer stops", Clause: "2.4"},
	StepCounterZero:    {Name: "counter at 0", Clause: "2.5.11"},
	StepMessage:        {Name: "interrupt of the unit", Clause: "3.4"},
}

// Describe implements emu.Unit.
func (u *Unit) Describe(s emu.Step) emu.StepInfo { return s.In(steps[:]) }
