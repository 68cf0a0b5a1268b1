// Package drivertest is what the tests of drivers share: a functional machine with a processor that keeps
// what a driver did, guests, devices with device-TLBs, devices that stream on the timed machine, and a
// driver against plain maps.
package drivertest
