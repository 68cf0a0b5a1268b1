package report

import (
	"runtime"
	"runtime/debug"
)

// ManifestSchema names the document that tells how a result was made.
const ManifestSchema = "iommulab.manifest/1"

// Manifest has everything that is needed to make a result again.
type Manifest struct {
	Schema     string            `json:"schema"`
	Command    string            `json:"command"`          // such as "walk"
	Config     map[string]string `json:"config"`           // every flag and argument, defaults filled in
	Preset     string            `json:"preset,omitempty"` // name of the timing preset
	PresetData any               `json:"preset_data,omitempty"`
	Seed       uint64            `json:"seed"`
	Versions   Versions          `json:"versions"`
	Inputs     []Input           `json:"inputs"`
	Incomplete bool              `json:"incomplete,omitempty"`
	Wall       Wall              `json:"wall"`
}

// Versions says what ran.
type Versions struct {
	Iommulab string `json:"iommulab"`
	Revision string `json:"revision,omitempty"` // of the source, if the build recorded it
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Input is a file that was read.
type Input struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// ThisVersion describes the running program.
func ThisVersion() Versions {
	v := Versions{Iommulab: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := b.Main.Version; m != "" && m != "(devel)" {
		v.Iommulab = m
	}
	for _, s := range b.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}
