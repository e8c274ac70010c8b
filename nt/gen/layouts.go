// The golden files: what a C compiler makes of mingw-w64's DDK headers.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/nt/internal/layouts"
)

// absent is what a golden file has for what the headers lack.
const absent = "-"

const header = `# Made by "go run ./gen %s" from the headers of mingw-w64, with clang for
# x86_64-pc-windows-msvc. Do not edit: what is wrong in the headers goes into
# %s.
`

// makeLayouts gives the golden file of layouts: a line of size and alignment for each, then a line
// of offset and size for each field.
func makeLayouts(include string) ([]byte, error) {
	var p prober
	for _, l := range layouts.All {
		object, path, nested := strings.Cut(l.C, ".")
		// The address of a member of a null object: C's way to name a type that has no name.
		expr := "(*(" + object + " *)0)"
		if nested {
			expr += "." + path
		}
		p.ask(l.C, l.C+" @size", "sizeof("+expr+")")
		p.ask(l.C, l.C+" @align", "__alignof__(__typeof__("+expr+"))")
		for _, f := range layouts.Fields(l.Type) {
			name := f.Path
			if l.C == "RTL_OSVERSIONINFOEXW" {
				// The only structure whose fields begin in lower case.
				name = lowerPrefix(name)
			}
			p.ask(l.C, l.C+" "+f.Path, "__builtin_offsetof(__typeof__("+expr+"), "+name+")")
			p.ask(l.C, l.C+" "+f.Path+" @size", "sizeof("+expr+"."+name+")")
		}
	}
	values, err := p.run(include)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, header, "layouts", "layouts_amd64.corrections")
	b.WriteString("# STRUCTURE @size bytes @align bytes; STRUCTURE field offset size.\n")
	for _, l := range layouts.All {
		fmt.Fprintf(&b, "\n%s @size %s @align %s\n", l.C, values[l.C+" @size"], values[l.C+" @align"])
		for _, f := range layouts.Fields(l.Type) {
			key := l.C + " " + f.Path
			fmt.Fprintf(&b, "%s %s %s\n", key, values[key], values[key+" @size"])
		}
	}
	return b.Bytes(), nil
}

// lowerPrefix turns DwBuildNumber, SzCSDVersion and WSuiteMask to their C names.
func lowerPrefix(name string) string {
	for _, p := range []string{"Dw", "Sz", "W"} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			return strings.ToLower(p) + rest
		}
	}
	return name
}

// makeConstants gives the golden file of constants: a line of name and value for each.
func makeConstants(include string) ([]byte, error) {
	declared, err := layouts.Sources(".")
	if err != nil {
		return nil, err
	}
	var p prober
	names := slices.Sorted(maps.Keys(declared.Constants))
	for _, name := range names {
		p.ask(name, name, "(unsigned long long)("+name+")")
	}
	values, err := p.run(include)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, header, "constants", "constants.corrections")
	b.WriteString("# NAME value, sign-extended to 64 bits.\n\n")
	for _, name := range names {
		v := values[name]
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			v = fmt.Sprintf("0x%X", uint64(n))
		}
		fmt.Fprintf(&b, "%s %s\n", name, v)
	}
	return b.Bytes(), nil
}

// prober asks the C compiler for the values of constant expressions.
type prober struct {
	groups, keys, exprs []string
}

// ask adds an expression. All of a group are taken from the first header that has any of them.
func (p *prober) ask(group, key, expr string) {
	p.groups = append(p.groups, group)
	p.keys = append(p.keys, key)
	p.exprs = append(p.exprs, expr)
}

var (
	errorLine = regexp.MustCompile(`(?m)^<stdin>:(\d+):\d+: error:`)
	valueLine = regexp.MustCompile(`(?m)^@probe_(\d+) = .*constant i64 (-?\d+)`)
)

// roots are the headers that an expression is tried with, in this order: the kernel's, then those of
// programs, which have what the kernel's lack (RUNTIME_FUNCTION, newer device types).
var roots = []string{"ntifs.h", "windows.h"}

// run gives the value of every expression in decimal, or "-" if no header has what it names.
func (p *prober) run(include string) (map[string]string, error) {
	if _, err := exec.LookPath("clang"); err != nil {
		return nil, fmt.Errorf("%w: clang (Debian: apt install clang)", errMissing)
	}
	for _, name := range []string{"ddk/ntifs.h", "windows.h"} {
		if _, err := readHeader(include, name); err != nil {
			return nil, err
		}
	}
	values := map[string]string{}
	for _, root := range roots {
		skip := map[int]bool{}
		known := map[string]bool{} // a structure must be one header's
		for i, key := range p.keys {
			if values[key] != "" {
				known[p.groups[i]] = true
			}
		}
		for i, group := range p.groups {
			skip[i] = known[group]
		}
		if err := p.runWith(include, root, skip, values); err != nil {
			return nil, err
		}
	}
	for _, key := range p.keys {
		if values[key] == "" {
			values[key] = absent
		}
	}
	return values, nil
}

// runWith adds the values of those expressions that compile with one header: the first run of the
// compiler finds those that do not, the second leaves them out.
func (p *prober) runWith(include, root string, skip map[int]bool, values map[string]string) error {
	_, stderr, err := p.compile(include, root, skip, "-fsyntax-only", "-ferror-limit=0")
	if err != nil {
		bad := errorLine.FindAllStringSubmatch(stderr, -1)
		if len(bad) == 0 {
			return fmt.Errorf("clang does not take %s: %w\n%s", root, err, firstLines(stderr))
		}
		for _, m := range bad {
			n, _ := strconv.Atoi(m[1])
			skip[n-2] = true
		}
	}
	out, stderr, err := p.compile(include, root, skip, "-S", "-emit-llvm", "-o", "-")
	if err != nil {
		return fmt.Errorf("clang with %s: %w\n%s", root, err, firstLines(stderr))
	}
	for _, m := range valueLine.FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		values[p.keys[n]] = m[2]
	}
	for i, key := range p.keys {
		if !skip[i] && values[key] == "" {
			return fmt.Errorf("clang gave no value for %s", key)
		}
	}
	return nil
}

// compile runs clang over all expressions but some. Expression i is on line i+2.
func (p *prober) compile(include, root string, skip map[int]bool, args ...string) (
	stdout, stderr string, err error) {
	var c strings.Builder
	fmt.Fprintf(&c, "#include <%s>\n", root)
	for i, expr := range p.exprs {
		if !skip[i] {
			fmt.Fprintf(&c, "const long long probe_%d = (long long)(%s);", i, expr)
		}
		c.WriteString("\n")
	}
	cmd := exec.Command("clang", append([]string{
		"--target=x86_64-pc-windows-msvc", "-fms-extensions", "-fgnuc-version=4.2.1", "-w",
		"-isystem", include + "/ddk", "-isystem", include, "-x", "c", "-"}, args...)...)
	cmd.Stdin = strings.NewReader(c.String())
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

func firstLines(s string) string {
	var b strings.Builder
	sc := bufio.NewScanner(strings.NewReader(s))
	for n := 0; n < 10 && sc.Scan(); n++ {
		b.WriteString(sc.Text() + "\n")
	}
	return b.String()
}
