package traces

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/iommulab/iommulab/emu"
)

func TestRoundTrip_EveryFormatIsLossless(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawTrace(rt)
		r, err := NewReader(bytes.NewReader(native(t, want)))
		require.NoError(rt, err)
		got, err := ReadAll(r)
		require.NoError(rt, err)
		require.Equal(rt, want, got)

		c, err := NewCSVReader(bytes.NewReader(textOf(t, got)))
		require.NoError(rt, err)
		got, err = ReadAll(c)
		require.NoError(rt, err)
		require.Equal(rt, want, got)
	})
}

func TestRoundTrip_Parquet(t *testing.T) {
	want := &Trace{Header: Header{Version: Version, Source: "test", Seed: 1 << 63, Marks: []string{"a mark"}}, Events: everyKind()}
	for range 8 { // several batches
		for _, e := range want.Events[:len(want.Events):len(want.Events)] {
			e.Time = want.Events[len(want.Events)-1].Time + 5
			want.Events = append(want.Events, e)
		}
	}
	b := parquetOf(t, want)
	r, err := NewParquetReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	got, err := ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// everyKind has one event of each kind and the extremes of each field.
func everyKind() []Event {
	var out []Event
	for k := range numKinds {
		out = append(out, Event{Time: uint64(k) * 10, Kind: k, SID: emu.SourceID(k) << 8, PASID: emu.NoPASID, Perm: Perm(k) & permAll})
	}
	return append(out,
		Event{Time: 1 << 40, Kind: Map, SID: NoSID - 1, PASID: emu.MaxPASID, IOVA: ^emu.IOVA(0), PA: ^emu.PA(0), HasPA: true, Len: MaxLen, Perm: permAll},
		Event{Time: 1 << 63, Kind: Write, SID: NoSID, PASID: 0, HasPA: true})
}

func TestWriter_BlocksSplitWhereTimeDoesNotFit(t *testing.T) {
	tr := &Trace{Header: Header{Version: Version}, Events: []Event{{Time: 0}, {Time: low48}, {Time: low48 + 1}, {Time: 1 << 63}}}
	b := native(t, tr)
	x, err := OpenIndexed(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	require.Equal(t, 3, x.Blocks())
	r, err := NewReader(bytes.NewReader(b))
	require.NoError(t, err)
	got, err := ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, tr, got)
}

func TestWriters_RefuseWhatNoFormatHolds(t *testing.T) {
	ok := Event{Time: 10, PASID: emu.NoPASID}
	for name, e := range map[string]Event{
		"len":     {Time: 10, Len: MaxLen + 1},
		"kind":    {Time: 10, Kind: numKinds},
		"perm":    {Time: 10, Perm: 8},
		"pasid":   {Time: 10, PASID: emu.MaxPASID + 1},
		"pa":      {Time: 10, PA: 1},
		"time":    {Time: 9},
		"time_ns": {Time: 9},
	} {
		for _, open := range []func() (Sink, error){
			func() (Sink, error) { return NewWriter(io.Discard, &Header{}) },
			func() (Sink, error) { return NewCSVWriter(io.Discard, &Header{}) },
			func() (Sink, error) { return NewParquetWriter(io.Discard, &Header{}) },
		} {
			s, err := open()
			require.NoError(t, err)
			err = s.Write([]Event{ok, e})
			var place *Error
			require.ErrorAs(t, err, &place, name)
			require.NotContains(t, place.Error(), "\n")
			require.Error(t, s.Write([]Event{ok}), "a sink is of no use after an error")
		}
	}
}

func TestIndexed_StartsAtAnyBlock(t *testing.T) {
	spec := DefaultSpec(Random)
	spec.Accesses = 3*blockRecords + 1000
	g, err := Generate(spec)
	require.NoError(t, err)
	all, err := ReadAll(g)
	require.NoError(t, err)
	b := native(t, all)
	x, err := OpenIndexed(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	require.Equal(t, uint64(len(all.Events)), x.Events())
	at := 0
	for k := range x.Blocks() {
		n, first, last := x.Block(k)
		require.Equal(t, all.Events[at].Time, first)
		require.Equal(t, all.Events[at+n-1].Time, last)
		r, err := x.From(k)
		require.NoError(t, err)
		got, err := ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, all.Events[at:], got.Events)
		require.LessOrEqual(t, x.Find(first), k)
		at += n
	}
	r, err := x.From(x.Blocks())
	require.NoError(t, err)
	_, err = r.Read(make([]Event, 1))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, x.Blocks(), x.Find(1<<63))
}
