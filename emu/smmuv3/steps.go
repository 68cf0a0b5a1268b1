package smmuv3

import (
	"fmt"

	"github.com/iommulab/iommulab/emu"
)

// The steps of the specification, as Act.Step and Fault.Step name them.
const (
	StepNone emu.Step = iota
	StepFrontEnd
	StepStream
	StepSTECache
	StepSTEMiss
	StepWalker
	StepL1STD
	StepSTE
	StepSTEFill
	StepATS
	StepSubstream
	StepInput
	StepCDCache
	StepCDMiss
	StepL1CD
	StepCD
	StepCDFill
	StepS1Range
	StepIOTLB
	StepIOTLBMiss
	StepWalkCache
	StepS1Table
	StepS1Update
	StepS2Range
	StepS2Table
	StepS2Update
	StepWalkFill
	StepStage2
	StepStage2Fill
	StepIOTLBFill
	StepRecord
	StepEventWrite
	StepStall
	StepPRI
	StepPRIWrite
	StepPRIResponse
	StepCommandFetch
	StepCommandDecode
	StepInvalidate
	StepCommandATS
	StepSyncDrain
	StepSyncSignal
	StepCommandStop
	StepMessage
	StepUpdate
	StepATOS
	numSteps
)

var steps = [numSteps]emu.StepInfo{
	StepNone:          {Name: "none"},
	StepFrontEnd:      {Name: "transaction", Clause: "3.3"},
	StepStream:        {Name: "StreamID", Clause: "3.3.1"},
	StepSTECache:      {Name: "STE cache look-up", Clause: "3.3.1"},
	StepSTEMiss:       {Name: "STE cache miss", Clause: "3.3.1"},
	StepWalker:        {Name: "walker", Clause: "3.3"},
	StepL1STD:         {Name: "level 1 stream table descriptor", Clause: "5.1"},
	StepSTE:           {Name: "stream table entry", Clause: "5.2"},
	StepSTEFill:       {Name: "STE cache fill", Clause: "3.3.1"},
	StepATS:           {Name: "ATS", Clause: "3.9"},
	StepSubstream:     {Name: "SubstreamID", Clause: "3.3.2"},
	StepInput:         {Name: "input address size", Clause: "3.4"},
	StepCDCache:       {Name: "CD cache look-up", Clause: "3.3.2"},
	StepCDMiss:        {Name: "CD cache miss", Clause: "3.3.2"},
	StepL1CD:          {Name: "level 1 context descriptor", Clause: "5.3"},
	StepCD:            {Name: "context descriptor", Clause: "5.4"},
	StepCDFill:        {Name: "CD cache fill", Clause: "3.3.2"},
	StepS1Range:       {Name: "stage 1 input range", Clause: "3.4.1"},
	StepIOTLB:         {Name: "IOTLB look-up", Clause: "3.17"},
	StepIOTLBMiss:     {Name: "IOTLB miss", Clause: "3.17"},
	StepWalkCache:     {Name: "paging-structure cache look-up", Clause: "3.17"},
	StepS1Table:       {Name: "stage 1 descriptor", Clause: "3.3.3"},
	StepS1Update:      {Name: "stage 1 flag update", Clause: "3.13"},
	StepS2Range:       {Name: "stage 2 input range", Clause: "3.4.1"},
	StepS2Table:       {Name: "stage 2 descriptor", Clause: "3.3.3"},
	StepS2Update:      {Name: "stage 2 flag update", Clause: "3.13"},
	StepWalkFill:      {Name: "paging-structure cache fill", Clause: "3.17"},
	StepStage2:        {Name: "intermediate address look-up", Clause: "3.17"},
	StepStage2Fill:    {Name: "intermediate address fill", Clause: "3.17"},
	StepIOTLBFill:     {Name: "IOTLB fill", Clause: "3.17"},
	StepRecord:        {Name: "record", Clause: "3.5"},
	StepEventWrite:    {Name: "event queue write", Clause: "7.2"},
	StepStall:         {Name: "stall", Clause: "3.12.2"},
	StepPRI:           {Name: "page request", Clause: "3.9.2"},
	StepPRIWrite:      {Name: "PRI queue write", Clause: "8"},
	StepPRIResponse:   {Name: "page request group response", Clause: "8.1"},
	StepCommandFetch:  {Name: "command fetch", Clause: "4.1"},
	StepCommandDecode: {Name: "command", Clause: "4.1"},
	StepInvalidate:    {Name: "invalidation", Clause: "4.3"},
	StepCommandATS:    {Name: "CMD_ATC_INV", Clause: "4.5.1"},
	StepSyncDrain:     {Name: "CMD_SYNC", Clause: "4.6.3"},
	StepSyncSignal:    {Name: "CMD_SYNC signal", Clause: "4.6.3"},
	StepCommandStop:   {Name: "command queue stops", Clause: "4.1"},
	StepMessage:       {Name: "interrupt message", Clause: "3.18"},
	StepUpdate:        {Name: "register update", Clause: "6.3.9"},
	StepATOS:          {Name: "address translation operation", Clause: "9"},
}

// Describe implements emu.Unit.
func (u *Unit) Describe(s emu.Step) emu.StepInfo {
	if int(s) < len(steps) {
		return steps[s]
	}
	return emu.StepInfo{Name: fmt.Sprintf("step %d", s)}
}
