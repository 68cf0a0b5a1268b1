module github.com/iommulab/iommulab

go 1.26.3

toolchain go1.26.8

require (
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)
