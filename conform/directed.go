package conform

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

//go:embed testdata/vtd testdata/amdvi testdata/smmuv3
var directedFiles embed.FS

// Directed returns the programs that were written for single deviations of a target, in the order of
// their names.
func Directed(t *Target) ([]*Program, error) {
	dir := path.Join("testdata", t.IOMMU, t.Mode)
	files, err := directedFiles.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []*Program
	for _, f := range files {
		name := path.Join(dir, f.Name())
		p, err := directed(t, name)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

func directed(t *Target, name string) (*Program, error) {
	f, err := directedFiles.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := Parse(f, name)
	if err != nil {
		return nil, err
	}
	for _, id := range p.Shows {
		if _, ok := t.Deviation(id); !ok {
			return nil, fmt.Errorf("%s: shows: no deviation %q in mode %s", name, id, t.Mode)
		}
	}
	p.File = path.Base(name)
	return p, nil
}
