// Command gen writes the generated files of package nt from the C headers of mingw-w64: the names
// of statuses and bugchecks, and the golden file that the struct layouts are held against.
//
// Usage, in the folder of package nt:
//
//	go run ./gen [-check] [-include DIR] [status|bugcheck|layouts|constants]...
//
// Without a subject it does all of them. With -check it writes nothing, prints what would change,
// and exits 1 if anything would. It exits 2 if clang or the headers are missing.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// errMissing marks an error that says which tool or header the machine lacks.
var errMissing = errors.New("missing")

// subject is one generated file: its name on the command line, its path below nt/, its maker.
type subject struct {
	name string
	path string
	make func(include string) ([]byte, error)
}

var subjects = []subject{
	{"status", "zstatus.go", makeStatus},
	{"bugcheck", "zbugcheck.go", makeBugCheck},
	{"layouts", "testdata/layouts_amd64.golden", makeLayouts},
	{"constants", "testdata/constants.golden", makeConstants},
}

func main() {
	check := flag.Bool("check", false, "write nothing; exit 1 if a file would change")
	include := flag.String("include", "/usr/x86_64-w64-mingw32/include",
		"mingw-w64's `folder` of headers")
	flag.Parse()

	wanted := map[string]bool{}
	for _, name := range flag.Args() {
		wanted[name] = true
	}
	stale := false
	for _, s := range subjects {
		if len(wanted) > 0 && !wanted[s.name] {
			continue
		}
		delete(wanted, s.name)
		changed, err := s.run(*include, *check)
		switch {
		case errors.Is(err, errMissing):
			fmt.Fprintf(os.Stderr, "gen %s: %v\n", s.name, err)
			os.Exit(2)
		case err != nil:
			fmt.Fprintf(os.Stderr, "gen %s: %v\n", s.name, err)
			os.Exit(1)
		}
		stale = stale || changed
	}
	for name := range wanted {
		fmt.Fprintf(os.Stderr, "gen: no subject %q\n", name)
		os.Exit(1)
	}
	if stale && *check {
		os.Exit(1)
	}
}

// run makes the file and writes it, or with check compares it; it reports whether it differed.
func (s subject) run(include string, check bool) (bool, error) {
	want, err := s.make(include)
	if err != nil {
		return false, err
	}
	have, err := os.ReadFile(s.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	if bytes.Equal(have, want) {
		return false, nil
	}
	if check {
		fmt.Fprintf(os.Stderr, "%s is not what the headers say (- committed, + headers):\n", s.path)
		diff(string(have), string(want))
		return true, nil
	}
	return true, os.WriteFile(s.path, want, 0o644)
}

// diff prints the lines that only one of the two texts has, in order of appearance.
func diff(have, want string) {
	lines := func(s string) (list []string, set map[string]bool) {
		set = map[string]bool{}
		for l := range strings.Lines(s) {
			l = strings.TrimSuffix(l, "\n")
			list, set[l] = append(list, l), true
		}
		return list, set
	}
	haveList, haveSet := lines(have)
	wantList, wantSet := lines(want)
	for _, l := range haveList {
		if !wantSet[l] {
			fmt.Fprintln(os.Stderr, "-", l)
		}
	}
	for _, l := range wantList {
		if !haveSet[l] {
			fmt.Fprintln(os.Stderr, "+", l)
		}
	}
}

// readHeader gives the text of one header, or an error that says which package has it.
func readHeader(include, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(include, name))
	if errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: %s in %s (Debian: apt install mingw-w64-x86-64-dev)",
			errMissing, name, include)
	}
	return string(b), err
}
