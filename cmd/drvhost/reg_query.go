package main

// reg query: keys, their values, and the search for either.

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const queryUsage = `REG QUERY KEY [/v [NAME] | /ve] [/s] [/f TEXT [/k] [/d] [/c] [/e]] [/t TYPE] [/z] [/se SEP]

  /v NAME  that value only; with /f and no name, look in the names of values only
  /ve      the default value only
  /s       the keys below too
  /f TEXT  what has the text, in which * and ? stand for any: names of keys below, values'
           names and data
  /k /d    look in the names of keys, in data
  /c       upper and lower case differ
  /e       the whole name or data is the text
  /t TYPE  values of these types, separated by commas
  /z       types with their numbers
  /se SEP  what stands between the texts of a REG_MULTI_SZ, \0 if nothing is said

A search that finds nothing ends with 1.
`

// query is a reg query under way.
type query struct {
	*regRun
	w       *bufio.Writer
	deep    bool
	types   []uint32 // or nil: all
	named   bool     // only the value called name
	name    string
	search  bool
	pattern string
	inKeys  bool
	inNames bool
	inData  bool
	matches int
	err     error
}

// jsonKey is a key for --format json.
type jsonKey struct {
	Key     string      `json:"key"`
	Values  []jsonValue `json:"values"`
	Subkeys []string    `json:"subkeys,omitempty"`
}

type jsonValue struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data any    `json:"data"`
}

func (r *regRun) query() error {
	name, err := parseKey(r.words[0])
	if err != nil {
		return err
	}
	q := &query{regRun: r, w: bufio.NewWriter(r.out), deep: r.has("s"), search: r.has("f"),
		pattern: r.switches["f"]}
	if err := q.read(); err != nil {
		return err
	}
	err = r.with(false, func() error {
		k, err := r.key(name, false)
		if err != nil {
			return err
		}
		if r.format == formatText {
			fmt.Fprintln(q.w)
		}
		return q.start(k, name.shown)
	})
	if q.search || q.deep && q.named {
		switch {
		case err != nil:
		case r.format == formatText:
			fmt.Fprintf(q.w, "End of search: %d match(es) found.\n", q.matches)
			fallthrough
		default:
			if q.matches == 0 {
				err = silent(exitFailure)
			}
		}
	}
	if err != nil && !q.search && !q.deep {
		q.w.Reset(r.out) // what is an error prints nothing else
	}
	if e := q.w.Flush(); err == nil {
		err = e
	}
	return err
}

// read reads the switches.
func (q *query) read() error {
	if q.has("v") && q.has("ve") {
		return syntax("/v and /ve exclude each other.")
	}
	if !q.search {
		for _, s := range []string{"k", "d", "c", "e"} {
			if q.has(s) {
				return syntax("/" + s + " wants /f.")
			}
		}
		if q.bare {
			return syntax("/v wants a name, unless there is /f.")
		}
	}
	for t := range strings.SplitSeq(q.switches["t"], ",") {
		if !q.has("t") {
			break
		}
		n, ok := typeNumber(t)
		if !ok {
			return syntax(fmt.Sprintf("%s is no type of a value.", t))
		}
		q.types = append(q.types, n)
	}
	q.named = q.has("ve") || q.has("v") && !q.bare
	q.name = q.switches["v"]
	q.inKeys, q.inData = q.has("k"), q.has("d")
	q.inNames = q.bare
	if !q.inKeys && !q.inData && !q.inNames {
		q.inKeys, q.inNames, q.inData = !q.named && q.types == nil, true, true
	}
	if !q.has("c") {
		q.pattern = cm.Fold(q.pattern)
	}
	if q.search && !q.has("e") {
		q.pattern = "*" + q.pattern + "*"
	}
	return nil
}

// start shows the key that was asked for, and what is below it.
func (q *query) start(k *cm.Key, path string) error {
	if q.named && !q.search && !q.deep {
		v, status := k.Value(q.name)
		switch {
		case status == nt.STATUS_OBJECT_NAME_NOT_FOUND && q.has("ve"):
			v = cm.Value{Type: nt.REG_SZ}
			if q.format == formatText {
				fmt.Fprintf(q.w, "%s\n    (Default)    REG_SZ    (value not set)\n\n",
					driverhost.Printable(path))
				return nil
			}
			return status
		case status != nt.STATUS_SUCCESS:
			return status
		}
		return q.show(path, []cm.Value{v}, nil)
	}
	return q.visit(k, path, true)
}

// visit shows a key as far as it is wanted, and goes on below it.
func (q *query) visit(k *cm.Key, path string, top bool) error {
	subkeys := subkeysOf(k)
	var values []cm.Value
	for i := 0; ; i++ {
		v, status := k.ValueAt(i)
		if status != nt.STATUS_SUCCESS {
			break
		}
		if q.wanted(v) {
			values = append(values, v)
		}
	}
	whole := !q.search && !q.named && q.types == nil
	hit := q.search && q.inKeys && !top && q.matching(path[strings.LastIndexByte(path, '\\')+1:])
	if q.matches += len(values); hit {
		q.matches++
	}
	var err error
	switch shallow := whole && !q.deep; {
	case shallow && q.format == formatJSON:
		err = q.show(path, values, subkeys)
	case whole && (q.deep || len(subkeys) == 0), len(values) > 0, hit:
		err = q.show(path, values, nil)
	}
	for _, name := range subkeys {
		below := path + `\` + name
		switch {
		case err != nil:
			return err
		case q.deep:
			sub, status := q.reg.Open(k, name, false)
			if status == nt.STATUS_SUCCESS { // else deleted meanwhile, or a link to nowhere
				if info, _ := linkOf(q.reg, k, name); info {
					continue // what it leads to is found where it is
				}
				err = q.visit(sub, below, false)
			}
		case whole && q.format == formatText:
			fmt.Fprintln(q.w, driverhost.Printable(below))
		case q.search && q.inKeys && q.matching(name):
			q.matches++
			err = q.show(below, nil, nil)
		}
	}
	return err
}

// linkOf reports whether a subkey is a link.
func linkOf(r *cm.Registry, k *cm.Key, name string) (bool, nt.Status) {
	sub, status := r.Open(k, name, true)
	if status != nt.STATUS_SUCCESS {
		return false, status
	}
	info, status := sub.Info()
	return info.Link, status
}

func subkeysOf(k *cm.Key) (names []string) {
	for i := 0; ; i++ {
		info, status := k.Subkey(i)
		if status != nt.STATUS_SUCCESS {
			return names
		}
		names = append(names, info.Name)
	}
}

// wanted says whether a value is one that is to be shown.
func (q *query) wanted(v cm.Value) bool {
	switch {
	case q.named && cm.Fold(v.Name) != cm.Fold(q.name):
		return false
	case q.types != nil && !slices.Contains(q.types, v.Type):
		return false
	case !q.search:
		return true
	}
	return q.inNames && q.matching(v.Name) || q.inData && q.matching(q.dataText(v))
}

// matching says whether a text is what is searched.
func (q *query) matching(text string) bool {
	if !q.has("c") {
		text = cm.Fold(text)
	}
	return glob([]rune(q.pattern), []rune(text))
}

// glob matches a text with a pattern in which * stands for any characters and ? for one.
func glob(pattern, text []rune) bool {
	p, t, star, mark := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p, t = p+1, t+1
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// show prints a key with values.
func (q *query) show(path string, values []cm.Value, subkeys []string) error {
	if q.format == formatJSON {
		row := jsonKey{path, []jsonValue{}, subkeys}
		for _, v := range values {
			row.Values = append(row.Values, jsonValue{v.Name, typeName(v.Type), dataOf(v)})
		}
		return q.json(row)
	}
	fmt.Fprintln(q.w, driverhost.Printable(path))
	for _, v := range values {
		name, typ := v.Name, typeName(v.Type)
		if name == "" {
			name = "(Default)"
		}
		if q.has("z") {
			typ += fmt.Sprintf(" (%d)", v.Type)
		}
		fmt.Fprintf(q.w, "    %s    %s    %s\n", driverhost.Printable(name), typ,
			driverhost.Printable(q.dataText(v)))
	}
	if len(values) > 0 || !q.search {
		fmt.Fprintln(q.w)
	}
	return nil
}

// regTypes are the types of values.
var regTypes = []string{"REG_NONE", "REG_SZ", "REG_EXPAND_SZ", "REG_BINARY", "REG_DWORD",
	"REG_DWORD_BIG_ENDIAN", "REG_LINK", "REG_MULTI_SZ", "REG_RESOURCE_LIST",
	"REG_FULL_RESOURCE_DESCRIPTOR", "REG_RESOURCE_REQUIREMENTS_LIST", "REG_QWORD"}

// typeName names a type; what has no name is a number.
func typeName(t uint32) string {
	if int64(t) < int64(len(regTypes)) {
		return regTypes[t]
	}
	return fmt.Sprintf("0x%x", t)
}

// typeNumber is typeName's inverse.
func typeNumber(name string) (uint32, bool) {
	name = strings.ToUpper(strings.TrimSpace(name))
	switch name {
	case "REG_DWORD_LITTLE_ENDIAN":
		return nt.REG_DWORD, true
	case "REG_QWORD_LITTLE_ENDIAN":
		return nt.REG_QWORD, true
	}
	if i := slices.Index(regTypes, name); i >= 0 {
		return uint32(i), true
	}
	n, err := strconv.ParseUint(name, 0, 32)
	return uint32(n), err == nil
}

func (q *query) dataText(v cm.Value) string {
	if q.has("se") {
		return dataText(v, q.switches["se"])
	}
	return dataText(v, `\0`)
}

// dataText gives data as reg.exe shows it, with what stands between texts.
func dataText(v cm.Value, separator string) string {
	switch d := dataOf(v).(type) {
	case string:
		return d
	case []string:
		return strings.Join(d, separator)
	case uint64:
		return fmt.Sprintf("0x%x", d)
	default:
		return ""
	}
}

// dataOf gives data as text, texts, a number, or else bytes in hexadecimal.
func dataOf(v cm.Value) any {
	switch v.Type {
	case nt.REG_SZ, nt.REG_EXPAND_SZ, nt.REG_LINK:
		return v.Text()
	case nt.REG_MULTI_SZ:
		if all := v.Texts(); all != nil {
			return all
		}
		return []string{}
	}
	if n, ok := v.Number(); ok {
		return n
	}
	return strings.ToUpper(hex.EncodeToString(v.Data))
}
