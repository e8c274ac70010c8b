package main

// reg copy and compare: two keys.

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/drvhost/drvhost/driverhost"
	"github.com/drvhost/drvhost/nt"
	"github.com/drvhost/drvhost/ntoskrnl/cm"
)

const copyUsage = `REG COPY KEY1 KEY2 [/s] [/f]

  /s  the keys below too
  /f  ask nothing where there is such a value

KEY2 is made with those above it. What it has beside what is copied stays. Links are not copied.
`

const compareUsage = `REG COMPARE KEY1 KEY2 [/v NAME | /ve] [/oa | /od | /os | /on] [/s]

  /v NAME  that value only; /ve is the default value
  /oa      show what is the same and what differs
  /od      show what differs (if nothing is said)
  /os      show what is the same
  /on      show nothing
  /s       the keys below too

A line begins with = for what is the same in both, with < for what the first has and with > for
what the second has. The exit status is 0 if all is the same, 1 if the command fails, and 2 if
something differs.
`

// exitDifferent is reg compare's, as reg.exe's.
const exitDifferent = 2

const errOntoItself = regError("The registry entry cannot be copied onto itself.")

func (r *regRun) twoKeys() (first, second keyName, err error) {
	first, err = parseKey(r.words[0])
	if err == nil {
		second, err = parseKey(r.words[1])
	}
	return first, second, err
}

// tree gives what a key is.
func (r *regRun) tree(name keyName) (*cm.Tree, error) {
	k, err := r.key(name, false)
	if err != nil {
		return nil, err
	}
	t, status := k.Tree()
	return t, failure(status)
}

func (r *regRun) copy() error {
	first, second, err := r.twoKeys()
	if err != nil {
		return err
	}
	var from, to *cm.Tree
	err = r.with(false, func() error {
		k, err := r.key(first, false)
		if err != nil {
			return err
		}
		if other, err := r.key(second, false); err == nil {
			if k.Same(other) {
				return errOntoItself
			}
			var status nt.Status
			if to, status = other.Tree(); status != nt.STATUS_SUCCESS {
				return status
			}
		}
		t, status := k.Tree()
		if status == nt.STATUS_SUCCESS {
			from = t.Plain(r.has("s"))
		}
		return failure(status)
	})
	if err != nil {
		return err
	}
	all := r.has("f")
	if !r.askCopy(from, to, second.shown, &all) {
		return r.canceled()
	}
	err = r.with(true, func() error {
		return r.batch(func() error {
			k, _, status := r.reg.Create(nil, second.path, cm.CreateOptions{Parents: true})
			if status == nt.STATUS_SUCCESS {
				status = k.Merge(from)
			}
			return failure(status)
		})
	})
	if err != nil {
		return err
	}
	return r.done()
}

// askCopy asks about each value that is there already, and takes those away that are to stay. It
// reports false if there is nobody to ask.
func (r *regRun) askCopy(from, to *cm.Tree, path string, all *bool) bool {
	if to == nil || *all {
		return true
	}
	var values []cm.Value
	for _, v := range from.Values {
		if _, there := to.Value(v.Name); there && !*all {
			question := fmt.Sprintf("Value %s\\%s exists, overwrite", path, shownName(v.Name))
			switch r.ask(question, "Yes/No/All") {
			case "y", "yes":
			case "a", "all":
				*all = true
			case "n", "no":
				continue
			default:
				return false
			}
		}
		values = append(values, v)
	}
	from.Values = values
	for _, k := range from.Keys {
		if !r.askCopy(k, to.Key(k.Name), path+`\`+k.Name, all) {
			return false
		}
	}
	return true
}

// comparing is a reg compare under way.
type comparing struct {
	*regRun
	w             *bufio.Writer
	first, second string
	same, differ  bool // to be shown
	err           error
}

// jsonResult is a result for --format json.
type jsonResult struct {
	Key    string     `json:"key"`          // the first's; the second's if only that has it
	In     int        `json:"in,omitempty"` // 1 or 2 if only that has it
	Same   bool       `json:"same"`
	First  *jsonValue `json:"first,omitempty"`
	Second *jsonValue `json:"second,omitempty"`
}

func (r *regRun) compare() error {
	first, second, err := r.twoKeys()
	if err != nil {
		return err
	}
	shown, one := "od", r.has("v") || r.has("ve")
	for _, s := range []string{"oa", "od", "os", "on"} {
		if r.has(s) {
			if shown != "od" || r.has("od") && s != "od" {
				return syntax("/oa, /od, /os and /on exclude each other.")
			}
			shown = s
		}
	}
	switch {
	case r.has("v") && r.has("ve"):
		return syntax("/v and /ve exclude each other.")
	case one && r.has("s"):
		return syntax("/s compares keys, and /v and /ve one value.")
	}
	var a, b *cm.Tree
	err = r.with(false, func() error {
		var err error
		if a, err = r.tree(first); err == nil {
			b, err = r.tree(second)
		}
		return err
	})
	if err != nil {
		return err
	}
	if one {
		var in [2]bool
		a, in[0] = onlyValue(a, r.switches["v"])
		b, in[1] = onlyValue(b, r.switches["v"])
		if !in[0] && !in[1] {
			return errNoKey
		}
	}
	c := &comparing{regRun: r, w: bufio.NewWriter(r.out), first: first.shown, second: second.shown,
		same: shown == "oa" || shown == "os", differ: shown == "oa" || shown == "od"}
	same := cm.Compare(a, b, r.has("s"), c.tell)
	if r.format == formatText {
		result := "Different"
		if same {
			result = "Identical"
		}
		fmt.Fprintf(c.w, "Result Compared: %s\nThe operation completed successfully.\n", result)
	}
	if err := c.w.Flush(); err != nil || c.err != nil {
		return err
	}
	if !same {
		return silent(exitDifferent)
	}
	return nil
}

// onlyValue gives a tree of one value.
func onlyValue(t *cm.Tree, name string) (*cm.Tree, bool) {
	v, ok := t.Value(name)
	if !ok {
		return &cm.Tree{}, false
	}
	return &cm.Tree{Values: []cm.Value{v}}, true
}

// tell shows one result.
func (c *comparing) tell(d cm.Difference) {
	if d.IsDifferent && !c.differ || !d.IsDifferent && !c.same || c.err != nil {
		return
	}
	below := ""
	if len(d.Path) > 0 {
		below = `\` + strings.Join(d.Path, `\`)
	}
	if c.format == formatJSON {
		c.err = c.json(c.result(d, below))
		return
	}
	switch {
	case !d.Value && d.OnlyIn == 2:
		c.line(">", "Key", c.second+below)
	case !d.Value && d.OnlyIn == 1:
		c.line("<", "Key", c.first+below)
	case !d.Value:
		c.line("=", "Key", c.first+below)
	case !d.IsDifferent:
		c.value("=", c.first+below, d.First)
	default:
		c.value("<", c.first+below, d.First)
		c.value(">", c.second+below, d.Second)
	}
}

func (c *comparing) result(d cm.Difference, below string) jsonResult {
	r := jsonResult{Key: c.first + below, In: d.OnlyIn, Same: !d.IsDifferent}
	show := func(v *cm.Value) *jsonValue {
		if v == nil {
			return nil
		}
		return &jsonValue{v.Name, typeName(v.Type), dataOf(*v)}
	}
	r.First, r.Second = show(d.First), show(d.Second)
	switch {
	case d.Value && d.First == nil:
		r.In = 2
	case d.Value && d.Second == nil:
		r.In = 1
	}
	if r.In == 2 {
		r.Key = c.second + below
	}
	return r
}

func (c *comparing) line(mark, what, text string) {
	fmt.Fprintf(c.w, "%s %s: %s\n", mark, what, driverhost.Printable(text))
}

func (c *comparing) value(mark, path string, v *cm.Value) {
	if v == nil {
		return
	}
	c.line(mark, "Value", fmt.Sprintf("%s  %s  %s  %s", path, shownName(v.Name), typeName(v.Type),
		dataText(*v, `\0`)))
}
