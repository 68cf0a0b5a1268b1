// Package cli is the command line of iommulab. Everything a command knows how to do is in a library
// package; here are flags, files, words for people, and exit codes.
//
// Conventions, the same for every command: stdout is data, stderr is talk; "-" is stdin or stdout;
// an error is one line that names the file, the place in it, what is there and what is wanted.
package cli
