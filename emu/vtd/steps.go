package vtd

import "github.com/iommulab/iommulab/emu"

// The steps of the specification, as Act.Step and Fault.Step name them.
const (
	StepNone emu.Step = iota
	StepFrontEnd
	StepInterruptRange
	StepInterruptIndex
	StepInterruptCache
	StepIRTE
	StepInterruptFill
	StepInterruptSource
	StepInterruptOrder
	StepIRQMessage
	StepPID
	StepPIR
	StepPIDNotify
	StepContextCache
	StepContextMiss
	StepWalker
	StepRoot
	StepContext
	StepContextFill
	StepPASIDCache
	StepPASIDMiss
	StepPASIDDir
	StepPASIDEntry
	StepPASIDFill
	StepRequestCheck
	StepPassThrough
	StepAddressWidth
	StepIOTLB
	StepIOTLBMiss
	StepWalkCache
	StepSSTable
	StepSSLeaf
	StepSSUpdate
	StepFSTable
	StepFSLeaf
	StepFSUpdate
	StepStage2
	StepWalk2
	StepStage2Fill
	StepWalkFill
	StepOutputRange
	StepIOTLBFill
	StepTranslated
	StepFaultRecord
	StepProtected
	StepCommand
	StepCommandFlush
	StepCommandDrain
	StepCommandWait
	StepQueueFetch
	StepQueueDecode
	StepQueueInvalidate
	StepQueueDevTLB
	StepPageDrain
	StepWaitDrain
	StepWaitStatus
	StepQueueStop
	StepEventMessage
	StepPageLog
	StepPageInvalidate
	StepPageWrite
	StepPageResponse
	numSteps
)

var steps = [numSteps]emu.StepInfo{
	StepNone:            {Name: "none"},
	StepFrontEnd:        {Name: "request", Clause: "3.4"},
	StepInterruptRange:  {Name: "interrupt address range", Clause: "3.15"},
	StepInterruptIndex:  {Name: "interrupt index", Clause: "5.1.3"},
	StepInterruptCache:  {Name: "interrupt-entry cache look-up", Clause: "6.4"},
	StepIRTE:            {Name: "interrupt-remapping table entry", Clause: "9.9"},
	StepInterruptFill:   {Name: "interrupt-entry cache fill", Clause: "6.4"},
	StepInterruptSource: {Name: "source verification", Clause: "5.1.4"},
	StepInterruptOrder:  {Name: "behind earlier writes of the source", Clause: "5.1.4"},
	StepIRQMessage:      {Name: "interrupt message", Clause: "5.1.4"},
	StepPID:             {Name: "posted-interrupt descriptor", Clause: "5.2.3"},
	StepPIR:             {Name: "posted interrupt request", Clause: "5.2.3"},
	StepPIDNotify:       {Name: "outstanding notification", Clause: "5.2.3"},
	StepContextCache:    {Name: "context-cache look-up", Clause: "6.2.2"},
	StepContextMiss:     {Name: "context-cache miss", Clause: "6.2.2"},
	StepWalker:          {Name: "walker", Clause: "6.2"},
	StepRoot:            {Name: "root entry", Clause: "9.1"},
	StepContext:         {Name: "context entry", Clause: "9.3"},
	StepContextFill:     {Name: "context-cache fill", Clause: "6.2.2"},
	StepPASIDCache:      {Name: "PASID-cache look-up", Clause: "6.2.3"},
	StepPASIDMiss:       {Name: "PASID-cache miss", Clause: "6.2.3"},
	StepPASIDDir:        {Name: "PASID directory entry", Clause: "9.5"},
	StepPASIDEntry:      {Name: "PASID table entry", Clause: "9.6"},
	StepPASIDFill:       {Name: "PASID-cache fill", Clause: "6.2.3"},
	StepRequestCheck:    {Name: "request against entry", Clause: "3.4"},
	StepPassThrough:     {Name: "pass-through", Clause: "3.9"},
	StepAddressWidth:    {Name: "input address width", Clause: "3.6"},
	StepIOTLB:           {Name: "IOTLB look-up", Clause: "6.2.4"},
	StepIOTLBMiss:       {Name: "IOTLB miss", Clause: "6.2.4"},
	StepWalkCache:       {Name: "paging-structure cache look-up", Clause: "6.2.5"},
	StepSSTable:         {Name: "second-stage entry", Clause: "3.7"},
	StepSSLeaf:          {Name: "second-stage leaf entry", Clause: "3.7"},
	StepSSUpdate:        {Name: "second-stage accessed/dirty update", Clause: "3.7.2"},
	StepFSTable:         {Name: "first-stage entry", Clause: "3.6"},
	StepFSLeaf:          {Name: "first-stage leaf entry", Clause: "3.6"},
	StepFSUpdate:        {Name: "first-stage accessed/dirty update", Clause: "3.6.2"},
	StepStage2:          {Name: "guest-physical address look-up", Clause: "3.8"},
	StepWalk2:           {Name: "second-stage paging-structure cache look-up", Clause: "6.2.5"},
	StepStage2Fill:      {Name: "guest-physical address fill", Clause: "3.8"},
	StepWalkFill:        {Name: "paging-structure cache fill", Clause: "6.2.5"},
	StepOutputRange:     {Name: "output address range", Clause: "3.15"},
	StepIOTLBFill:       {Name: "IOTLB fill", Clause: "6.2.4"},
	StepTranslated:      {Name: "translated request", Clause: "4.2.5"},
	StepFaultRecord:     {Name: "fault record", Clause: "7.2.1"},
	StepProtected:       {Name: "protected memory region", Clause: "11.4.8"},
	StepCommand:         {Name: "command", Clause: "11.4.4.1"},
	StepCommandFlush:    {Name: "invalidation by command", Clause: "6.5.1"},
	StepCommandDrain:    {Name: "drain by command", Clause: "6.5.4"},
	StepCommandWait:     {Name: "command waits for the queue", Clause: "6.5.2"},
	StepQueueFetch:      {Name: "descriptor fetch", Clause: "6.5.2"},
	StepQueueDecode:     {Name: "descriptor decode", Clause: "6.5.2"},
	StepQueueInvalidate: {Name: "queued invalidation", Clause: "6.5.2"},
	StepQueueDevTLB:     {Name: "device-TLB invalidation", Clause: "6.5.2.5"},
	StepPageDrain:       {Name: "wait descriptor: page-request drain", Clause: "7.7"},
	StepWaitDrain:       {Name: "wait descriptor: drain", Clause: "6.5.2.9"},
	StepWaitStatus:      {Name: "wait descriptor: status write", Clause: "6.5.2.9"},
	StepQueueStop:       {Name: "queue stops", Clause: "6.5.2"},
	StepEventMessage:    {Name: "event message", Clause: "7.3"},
	StepPageLog:         {Name: "page-request queue", Clause: "7.4.1"},
	StepPageInvalidate:  {Name: "implicit invalidation on a page request", Clause: "6.5.3.1"},
	StepPageWrite:       {Name: "page request descriptor", Clause: "7.4.1.1"},
	StepPageResponse:    {Name: "page group response", Clause: "7.6.1"},
}

// Describe implements emu.Unit.
func (u *Unit) Describe(s emu.Step) emu.StepInfo { return s.In(steps[:]) }
